"""The largest margin of every class: gradient ascent over the pixels from random images, all classes of a group in one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._classes import Measured, class_by_class, lead, uniform
from securitynet.attacks.backdoor._outliers import first_candidate, standardised_gap
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

CONVERGED = 1e-5  # relative change of a class's sum of margins that ends its ascent
CUT = "the network returns probabilities: margins are cut off where float32 holds no smaller ones"


@dataclass(frozen=True, eq=False)
class Ascent:
    """`steps` steps from `starts` uniform images per class; `move(images, gradient, done)` is one step, `done` the share of steps done.

    Pixels stay in [0,1]. A class whose margins no longer change is left out of the batch.
    """

    module: nn.Module
    shape: tuple[int, ...]
    starts: int
    steps: int
    seed: int
    move: Callable[[Tensor, Tensor, float], Tensor]

    def __call__(self, classes: Tensor) -> Measured:
        """Return the largest margin z_t - max of the other logits that was found for each class t of int64 [g]."""
        return self.climb(classes)[0]

    def climb(self, classes: Tensor) -> tuple[Measured, Tensor]:
        """Return the largest margins and, float [g, *shape] in [0,1], the images that have them."""
        images = uniform(classes, self.starts, self.shape, self.seed)
        best, peaks = torch.full(classes.shape, -torch.inf, device=classes.device), images[:, 0].clone()
        before, rows, query_count = best.clone(), torch.arange(len(classes), device=classes.device), 0
        for number in range(self.steps):
            margins, gradient = self._margins(images, classes[rows])
            query_count += margins.numel()
            largest, start = margins.max(1)
            higher = largest > best[rows]
            best[rows[higher]] = largest[higher]
            peaks[rows[higher]] = images[higher, start[higher]]
            total = margins.sum(1)
            climbing = ~((total - before[rows]).abs() < CONVERGED * before[rows].abs())
            before[rows] = total
            images = self.move(images, gradient, number / self.steps).clamp(0, 1)[climbing]
            rows = rows[climbing]
            if not len(rows):
                break
        return Measured(best, query_count, query_count), peaks

    def _margins(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The margins [g, starts] of images [g, starts, ...] and the gradient of their sum."""
        flat = images.flatten(0, 1).requires_grad_(True)
        margins = lead(self.module(flat).float(), classes.repeat_interleave(self.starts))
        (gradient,) = torch.autograd.grad(margins.sum(), flat)
        return margins.detach().view(images.shape[:2]), gradient.view_as(images)


class Climber(Protocol):
    """A detector that reads the largest margins: how it climbs."""

    @property
    def starts(self) -> int:
        """Random images per class."""

    @property
    def steps(self) -> int:
        """Steps of each."""

    @property
    def budget(self) -> int | None:
        """Passes that it may cost, None for any number."""

    def move(self, images: Tensor, gradient: Tensor, done: float) -> Tensor:
        """Return the images [g, starts, ...] after a step; `done` is the share of steps done."""


def largest_margins(climber: Climber, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
    """Return the largest margin that `climber` finds for every class, without a p-value."""
    module = target.module.to(accelerator.device).eval()
    ascent = Ascent(module, tuple(target.entry.input_size or ()), climber.starts, climber.steps, splits.seed, climber.move)
    found = class_by_class(ascent, target, climber.starts, climber.budget, splits.seed, accelerator.device)
    cut = CUT if target.entry.output == "probabilities" else None
    return BackdoorEvidence(
        statistics=found.statistics,
        score=standardised_gap(found.statistics),
        target_class=first_candidate(found.statistics),
        p_value=None,
        forward=found.forward,
        backward=found.backward,
        remark="; ".join(part for part in (found.remark, cut) if part) or None,
        complete=found.complete,
    )
