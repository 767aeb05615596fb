"""The smallest perturbation of each image that changes its label, by the Fast Minimum-Norm attack (Pintor et al. 2021, arXiv 2102.12827).

The ball around the image grows until a step along the normalised gradient leaves the class, and shrinks after. Gradients are those of
the lead of the label in logits. At the end the way from image to attacked image is halved several times. What comes out is the whole
curve of robust accuracy over epsilon, from above.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securitynet.attacks.evasion import ROBUST, EvasionEvidence, within
from securitynet.attacks.evasion._ball import sizes, wide
from securitynet.attacks.evasion._cascade import Cascade, Stage
from securitynet.attacks.evasion._descent import lead
from securitynet.attacks.evasion._images import choose
from securitynet.attacks.evasion._victim import Victim
from securitynet.attacks.resolve import code_of
from securitynet.errors import UsageError
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.means import mean
from securitynet.metrics.quantiles import quantile
from securitynet.metrics.vocabulary import GRADIENT_IMAGES, MEAN_NORM, MINIMUM_NORM, QUANTILES, ROBUST_ACCURACY, norm_quantile
from securitynet.target import Target
from securitynet.threat import Threat, threat_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")
CURVE = (0.25, 0.5, 1.0, 2.0, 4.0)  # epsilons at which the curve is given, as multiples of the threat model's
STEP, LAST_STEP = 10.0, 0.1  # lengths of the first and the last step, in L2
GROWTH, LAST_GROWTH = 0.05, 0.001  # by which the ball changes, at first and at the end
HALVINGS = 10


@dataclass(frozen=True, eq=False)
class NormEvidence:
    """`distances` float64 [n] are the norms of the smallest perturbations found: 0 where the label is wrong already, inf without any."""

    family: ClassVar[str] = "evasion"
    found: EvasionEvidence
    seed: int = 0

    @property
    def distances(self) -> NDArray[np.float64]:
        """float64 [n]."""
        return np.where(self.found.by == ROBUST, np.inf, self.found.sizes)

    @property
    def queries(self) -> int:
        """Images on which the model was queried."""
        return self.found.queries

    def metrics(self) -> list[Estimate]:
        """Return median, mean and quantiles of the distances, the curve of robust accuracy over epsilon, and what it cost."""
        away, threat = self.distances, self.found.threat
        missed = int(np.isinf(away).sum())
        middle = Estimate(MEAN_NORM, None, len(away), reason=f"for {missed} of {len(away)} images nothing was found")
        spread = [
            replace(quantile(MINIMUM_NORM, away, 0.5), reason=self.found.remark),
            middle if missed else mean(MEAN_NORM, away, self.seed),
            *(quantile(norm_quantile(share), away, share) for share in QUANTILES),
            Estimate(GRADIENT_IMAGES, float(self.found.backward), self.found.backward),
        ]
        unbounded = [replace(within(one, threat), epsilon=None) for one in spread]
        return [*unbounded, *self.curve()]

    def curve(self) -> Iterator[Estimate]:
        """Yield robust accuracy at several epsilons."""
        threat, away = self.found.threat, self.distances
        for factor in CURVE:
            epsilon = factor * threat.epsilon
            yield within(replace(rate(ROBUST_ACCURACY, int((away > epsilon).sum()), len(away)), epsilon=epsilon), threat)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: the distances beside what became of each image, and the examples."""
        return {**self.found.arrays(), "distances": self.distances}


@dataclass(frozen=True)
class MinimumNorm:
    """`steps` steps on at most `images` test images, `batch` at once. Of the threat model (see pgd.Pgd) the norm counts.

    Its epsilon decides at which epsilons the curve is given: a quarter of it, half, once, twice and four times.
    """

    images: int = 500
    norm: str | None = None
    epsilon: float | str | None = None
    steps: int = 200
    batch: int = 128

    def __post_init__(self) -> None:
        if min(self.images, self.steps, self.batch) < 1:
            raise UsageError("evasion/minimum_norm: images, steps and batch must be above zero")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> NormEvidence:
        """Return the distances. Raises Skipped for volumes."""
        threat = threat_of(target.entry, self.norm, self.epsilon)
        chosen = choose(target, splits, self.images, accelerator)
        victim = Victim.of(target, accelerator.device)
        stage = Stage("fmn", partial(smallest, victim, norm=threat.norm, steps=self.steps), (self.steps,), self.steps + HALVINGS)
        any_size = Threat(threat.norm, math.prod(chosen.part.transform.input_size))  # no change of an image is larger
        found = Cascade(target, victim, chosen, any_size, self.batch, splits.seed, code_of(self)).run([stage], accelerator)
        return NormEvidence(replace(found, threat=threat), splits.seed)


def smallest(victim: Victim, images: Tensor, labels: Tensor, norm: str, steps: int) -> Tensor:
    """Return, for images [n, ...], the nearest images in a norm that the model names otherwise; where none was found, the image itself."""
    change, radius = torch.zeros_like(images), torch.full((len(images),), torch.inf, device=images.device)
    best, nearest, ever = images.clone(), radius.clone(), torch.zeros_like(labels, dtype=torch.bool)
    for number in range(steps):
        share = (1 + math.cos(math.pi * number / steps)) / 2
        length, growth = (last + (first - last) * share for first, last in ((STEP, LAST_STEP), (GROWTH, LAST_GROWTH)))
        with torch.enable_grad():
            followed = (images + change).detach().requires_grad_()
            ahead = lead(victim.followed(followed), labels)
            (gradient,) = torch.autograd.grad(ahead.sum(), followed)
        away, moved, ahead = sizes(change, norm), followed.detach(), ahead.detach()
        out = victim.fooled(moved, labels) if victim.defended else ahead > 0
        nearer = out & (away < nearest)
        nearest, best, ever = torch.where(nearer, away, nearest), torch.where(wide(nearer, images), moved, best), ever | out
        linear = away + ahead.abs() / dual(gradient, norm).clamp_min(1e-12)  # the distance of a linear model's boundary
        grown = torch.where(ever, radius, torch.maximum(linear, torch.where(radius.isinf(), 0.0, radius))) * (1 + growth)
        radius = torch.where(out, torch.minimum(radius * (1 - growth), nearest), grown)
        change = change + length * gradient / wide(gradient.flatten(1).norm(dim=1).clamp_min(1e-12), gradient)
        change = (images + shrunk(change, norm, radius)).clamp(0, 1) - images
    return halved(victim, images, best, labels, ever)


def halved(victim: Victim, images: Tensor, ends: Tensor, labels: Tensor, found: Tensor) -> Tensor:
    """Halve the way between images and those found; the ends stay outside the class."""
    low, high = torch.zeros(len(images), device=images.device), torch.ones(len(images), device=images.device)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        out = victim.fooled(images + wide(middle, images) * (ends - images), labels)
        low, high = torch.where(out, low, middle), torch.where(out, middle, high)
    return torch.where(wide(found, images), images + wide(high, images) * (ends - images), images)


def dual(gradient: Tensor, norm: str) -> Tensor:
    """Return the dual norm [n] of gradients: what a change of norm one can gain at most."""
    return sizes(gradient, {"Linf": "L1", "L2": "L2", "L1": "Linf"}[norm])


def shrunk(change: Tensor, norm: str, radius: Tensor) -> Tensor:
    """Return changes [n, ...] projected to the balls of radius [n]; of L1 by the sort of Duchi et al. 2008 (ICML, figure 1)."""
    bound = wide(radius, change)
    if norm == "Linf":
        return torch.maximum(torch.minimum(change, bound), -bound)
    if norm == "L2":
        return change * (bound / wide(sizes(change, "L2").clamp_min(1e-12), change)).clamp_max(1)
    flat = change.flatten(1).abs()
    ranked = flat.sort(dim=1, descending=True).values
    excess = ranked.cumsum(1) - radius[:, None]
    count = torch.arange(1, flat.shape[1] + 1, device=flat.device)
    kept = (ranked * count > excess).sum(1, keepdim=True).clamp_min(1)
    cut = (excess.gather(1, kept - 1) / kept).clamp_min(0)
    inside = (flat.sum(1) <= radius)[:, None]
    return torch.where(inside, change.flatten(1), change.flatten(1).sign() * (flat - cut).clamp_min(0)).view_as(change)
