"""How small a universal perturbation sends images of other classes to a class: for a backdoor's target, smaller than for the others.

Per class t, one perturbation for all images, added before they are cut off to [0,1]; the statistic is minus the logarithm of
the smallest L2 norm at which the wanted share of images is predicted as t. The search goes along normalised gradients and
shrinks the norm after a success, else lets it grow (the rule that Rony et al. 2019, arXiv 1811.09600, use for single images).
It finds what spreads over the whole image (blended, sinusoidal, warped, watermarks) and small patches that need little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._classes import Measured, class_by_class, lead
from securitynet.attacks.backdoor._clean import Clean, clean_images, where_apart
from securitynet.attacks.backdoor._outliers import Statistics, first_candidate, standardised_gap
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
POOL = 256  # images that are drawn from
START = 0.02  # first norm, root mean square per pixel
MOMENTUM = 0.5


@dataclass(frozen=True)
class UniversalPerturbation:
    """`images` images per class, `steps` steps, `success` the share of them to be sent to the class.

    After each step the norm changes by a factor of 1 +- `change`. `budget` counts passes: classes that do not fit into it
    have no statistic.
    """

    images: int = 16
    steps: int = 40
    success: float = 0.8
    change: float = 0.1
    budget: int | None = None

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return minus the logarithm of every class's smallest norm, as root mean square per pixel.

        A class that no perturbation reached counts as the hardest that one did reach. Raises Skipped where none was reached.
        """
        module = target.module.to(accelerator.device).eval()
        clean = clean_images(target, splits, POOL, accelerator)
        search = _Search(self, module, clean, splits.seed)
        found = class_by_class(where_apart(search.smallest, clean), target, self.images, self.budget, splits.seed, accelerator.device)
        remarks = [remark for remark in (clean.remark, found.remark) if remark]
        statistics = _floored(found.statistics)
        return BackdoorEvidence(
            statistics=statistics,
            score=standardised_gap(statistics),
            target_class=first_candidate(statistics),
            p_value=None,
            forward=found.forward + len(clean.pixels),
            backward=found.backward,
            remark="; ".join(remarks) or None,
            complete=found.complete,
            made_up=clean.made_up,
        )


@dataclass(frozen=True, eq=False)
class _Search:
    settings: UniversalPerturbation
    module: nn.Module
    clean: Clean
    seed: int

    def smallest(self, classes: Tensor) -> Measured:
        images = torch.stack([self.clean.others(int(one), self.settings.images, self.seed) for one in classes])
        size = torch.full(classes.shape, START, device=classes.device)
        added = torch.zeros_like(images[:, 0])
        best, velocity, steps = torch.full_like(size, torch.inf), torch.zeros_like(added), self.settings.steps
        for number in range(steps):
            success, gradient = self._towards(images, added, classes)
            reached = success >= self.settings.success
            best = torch.where(reached, torch.minimum(best, rms(added)), best)
            size = size * torch.where(reached, 1 - self.settings.change, 1 + self.settings.change)
            velocity = MOMENTUM * velocity + scaled(gradient, torch.ones_like(size))
            added = scaled(added - scaled(velocity, size * (0.5 if number else 1)), size)
        query_count = steps * images.shape[0] * images.shape[1]
        return Measured(-best.log(), query_count, query_count)

    def _towards(self, images: Tensor, added: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Success rates [g], and the gradient of softplus(-margin) at the perturbations [g, c, ...]."""
        added = added.requires_grad_(True)
        moved = (images + added[:, None]).clamp(0, 1).flatten(0, 1)
        margins = lead(self.module(moved).float(), classes.repeat_interleave(images.shape[1])).view(images.shape[:2])
        (gradient,) = torch.autograd.grad(softplus(-margins).mean(1).sum(), added)
        return (margins > 0).float().mean(1), gradient


def _floored(statistics: Statistics) -> Statistics:
    reached = np.isfinite(statistics)
    if not reached.any():
        raise Skipped("no perturbation sends the available images to any class")
    return np.where(np.isneginf(statistics), statistics[reached].min(), statistics)


def rms(values: Tensor) -> Tensor:
    """Return the root mean square [g] over all but the first axis."""
    return values.detach().square().flatten(1).mean(1).sqrt()


def scaled(values: Tensor, size: Tensor) -> Tensor:
    """Return `values` [g, ...] stretched to root mean square `size` [g]; zeros stay zeros."""
    factor = size / rms(values).clamp_min(1e-30)
    return values.detach() * factor.view(-1, *[1] * (values.ndim - 1))
