"""Clean images to search triggers on, and others to measure them on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from securitynet.data import ArrayImages, Split
from securitynet.data.transform import Transform
from securitynet.errors import Skipped
from securitynet.target import Target, query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accelerate import Accelerator

    from securitynet.attacks.backdoor._inversion.settings import InversionSettings
    from securitynet.data import Splits

COARSE = (2, 3, 5, 9, 16)  # sides of the random fields that stand in for images where there are none


@dataclass(frozen=True, eq=False)
class SearchImages:
    """`pixels` [n, c, ...] in [0,1] to search on, `held_out` [m, c, ...] to measure on; `kinds` and `held_out_kinds` bool [n, classes]
    say which classes an image is of, by its label or by the model's prediction. `remark` says what stands in for images.
    """

    pixels: Tensor
    kinds: Tensor
    held_out: Tensor
    held_out_kinds: Tensor
    digest: str
    remark: str | None = None

    @property
    def made_up(self) -> bool:
        """Whether random fields stand in for images."""
        return self.remark is not None

    @property
    def query_count(self) -> int:
        """Images that the model was queried on to know their classes."""
        return len(self.pixels) + len(self.held_out)

    def searchable(self, classes: Sequence[int]) -> list[int]:
        """Return those of the classes that some image to search on, and one to measure on, is not of. Raises Skipped for none."""
        everywhere = self.kinds.all(0) | self.held_out_kinds.all(0)
        found = [one for one in classes if not everywhere[one]]
        if not found:
            raise Skipped("the model gives every available image the class that a trigger was to be looked for")
        return found

    def order(self, one: int, seed: int) -> Tensor:
        """Return positions int64 [n] of images that are not of class `one`, in the order they are shown; each may come again."""
        free = (~self.kinds[:, one]).nonzero()[:, 0].cpu()
        shuffled = free[torch.randperm(len(free), generator=torch.Generator().manual_seed(seed * 1_000_003 + one))]
        return shuffled[torch.arange(len(self.pixels)) % len(free)]


def search_images(target: Target, splits: Splits, settings: InversionSettings, accelerator: Accelerator) -> SearchImages:
    """Return a seeded sample of the available images, test images first; random fields where there are none at all."""
    split, remark = _split(target, splits, settings)
    chosen = np.random.default_rng(settings.seed).permutation(len(split))[: 2 * settings.images]
    if len(chosen) < 2:
        raise Skipped("needs at least two images: one to search triggers on, one to measure them on")
    part = replace(split, indices=split.indices[chosen], labels=split.labels[chosen])
    said = query(target, part, accelerator).logits.argmax(axis=1)
    kinds = torch.zeros(len(chosen), target.num_classes, dtype=torch.bool)
    kinds[torch.arange(len(chosen)), torch.from_numpy(said)] = True
    kinds[torch.arange(len(chosen)), torch.from_numpy(part.labels)] |= remark is None
    half = (len(chosen) + 1) // 2
    pixels = part.pixels(np.arange(len(chosen))).to(accelerator.device)
    kinds = kinds.to(accelerator.device)
    return SearchImages(pixels[:half], kinds[:half], pixels[half:], kinds[half:], part.digest, remark)


def _split(target: Target, splits: Splits, settings: InversionSettings) -> tuple[Split, str | None]:
    for part in (splits.test, splits.non_members, splits.queries, splits.members):
        if part is not None and len(part) > 1:
            return part, None
    return fields(target, settings), "no images: triggers were looked for on random fields, which finds less"


def fields(target: Target, settings: InversionSettings) -> Split:
    """Return smooth random fields in place of images, as many as are wanted. Raises Skipped for volumes."""
    size = target.entry.input_size
    if size is None or len(size) != 3:
        raise Skipped(f"no images available, and none can be made up for inputs of size {size}")
    generator = torch.Generator().manual_seed(settings.seed)
    parts = []
    for number, side in enumerate(COARSE):
        count = len(range(number, 2 * settings.images, len(COARSE)))
        coarse = torch.rand(count, size[0], min(side, size[1]), min(side, size[2]), generator=generator)
        parts.append(interpolate(coarse, size=list(size[1:]), mode="bilinear"))
    smooth = torch.cat(parts)
    pixels = (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    labels = np.zeros(len(pixels), np.int64)
    images = ArrayImages(pixels, labels)
    return Split("fields", images, np.arange(len(pixels)), labels, Transform(size))
