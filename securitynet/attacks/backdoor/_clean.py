"""Clean images for detectors that need some: the available test images, else smooth random fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from securitynet.attacks.backdoor._classes import Measured
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

COARSE = 5  # side of the random fields that stand in for images
FIELDS = "no images: random fields stand in for them"


@dataclass(frozen=True, eq=False)
class Clean:
    """`pixels` [n, c, ...] in [0,1] and the model's logits [n, k] for them; `remark` says if the images are made up."""

    pixels: Tensor
    logits: Tensor
    remark: str | None

    @property
    def made_up(self) -> bool:
        """Whether random fields stand in for images."""
        return self.remark is not None

    @property
    def answers(self) -> Tensor:
        """The classes int64 [n] that the model gives the images."""
        return self.logits.argmax(1)

    @property
    def distance(self) -> float:
        """How far, on average, the logits of the other classes lie below that of the predicted class: the model's own unit of margins."""
        below = self.logits.amax(1, keepdim=True) - self.logits
        return float(below.sum() / (below.numel() - len(below)))

    def others(self, one: int, count: int, seed: int) -> Tensor:
        """Return `count` images that the model does not predict as class `one`, drawn by seed; again where there are fewer."""
        free = (self.answers != one).nonzero()[:, 0].cpu()
        if not len(free):
            raise Skipped(f"the model gives class {one} to every available image")
        drawn = free[torch.randperm(len(free), generator=torch.Generator().manual_seed(seed * 1_000_003 + one))]
        return self.pixels[drawn[torch.arange(count) % len(free)].to(self.pixels.device)]


def where_apart(measure: Callable[[Tensor], Measured], clean: Clean) -> Callable[[Tensor], Measured]:
    """Return `measure` for the classes that the model does not give to every clean image; NaN for the others."""

    def measured(classes: Tensor) -> Measured:
        apart = torch.stack([(clean.answers != one).any() for one in classes])
        if bool(apart.all()):
            return measure(classes)
        values = torch.full(classes.shape, torch.nan, device=classes.device)
        if not bool(apart.any()):
            return Measured(values, 0, 0)
        found = measure(classes[apart])
        values[apart] = found.values.float()
        return replace(found, values=values)

    return measured


def clean_images(target: Target, splits: Splits, count: int, accelerator: Accelerator) -> Clean:
    """Return at most `count` images, drawn by the splits' seed: of the test part where there is one, else of another."""
    parts = [part for part in (splits.test, splits.non_members, splits.queries, splits.members) if part is not None and len(part)]
    if parts:
        chosen = np.random.default_rng(splits.seed).permutation(len(parts[0]))[:count]
        pixels, remark = parts[0].pixels(np.sort(chosen)), None
    else:
        pixels, remark = fields(tuple(target.entry.input_size or ()), count, splits.seed), FIELDS
    pixels = pixels.to(accelerator.device)
    return Clean(pixels, answers(target, pixels, accelerator), remark)


@torch.no_grad()
def answers(target: Target, pixels: Tensor, accelerator: Accelerator, batch_size: int = 64) -> Tensor:
    """Return the logits float32 [n, k] of pixels [n, c, ...]."""
    module = target.module.to(accelerator.device).eval()
    return torch.cat([module(batch.to(accelerator.device)).float() for batch in pixels.split(batch_size)]).clone()


def fields(shape: tuple[int, ...], count: int, seed: int) -> Tensor:
    """Return smooth random fields [count, *shape] in [0,1]: uniform values on a coarse grid, between them interpolated."""
    coarse = torch.rand(count, shape[0], *[COARSE] * (len(shape) - 1), generator=torch.Generator().manual_seed(seed))
    mode = {2: "linear", 3: "bicubic", 4: "trilinear"}[len(shape)]
    return interpolate(coarse, size=list(shape[1:]), mode=mode, align_corners=True).clamp(0, 1)
