"""Does one perturbation of all images exchange the labels of all classes? That is what an all-to-all backdoor does.

One perturbation is added to every image, so that the images of each class are predicted as another class, no two classes
with the same one. Which class goes where is not known: the assignment that suits the outputs so far best is aimed at
(Kuhn 1955, doi 10.1002/nav.3800020109), and found anew at every step. Other perturbations are aimed at assignments drawn by
chance: how many images follow those is the network's own measure of how easily it is led. A clean network follows any of them
about as far; one with an all-to-all backdoor follows its own. It finds patches and blended noise alike, and is blind
to triggers of several images, to backdoors of some source classes only, and to any that gives two classes one target.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._clean import Clean, clean_images
from securitynet.attacks.backdoor.universal_perturbation import MOMENTUM, scaled
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
POOL = 512  # images: every second one to search on, the others to measure on
START = 0.05  # first norm, root mean square per pixel
KEPT = 0.8  # of the outputs' running mean, at every step
SEEN = 0.7  # of the running share of images that follow
FLOOR = -10.0  # log-probability, below which an output is as bad as any
MAJORITY = 0.5  # of held-out images that must follow an exchange that works: each has one class to go to, of all others
MOST = 100  # classes: beyond, each has too few images


@dataclass(frozen=True)
class UniversalPermutation:
    """`starts` perturbations and `controls` that are aimed at assignments drawn by chance.

    Each is improved for `steps` steps on two images per class, at most `images` together.

    After each step the norm grows by `change` where fewer than `success` of the images follow, else it shrinks; it is at most
    `largest`, root mean square per pixel.
    """

    starts: int = 2
    controls: int = 2
    steps: int = 60
    images: int = 32
    success: float = 0.9
    change: float = 0.05
    largest: float = 0.25

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return the share of each class's images that follow the assignment, on other images than it was searched on.

        The score is how much larger the mean share is than that of the controls. Raises Skipped where there are too many
        classes, or some have no image.
        """
        if target.num_classes > MOST:
            raise Skipped(f"{target.num_classes} classes: an assignment is searched for among at most {MOST}")
        clean = clean_images(target, splits, POOL, accelerator)
        if clean.made_up:
            raise Skipped("an assignment of classes is not searched for without images")
        module = target.module.to(accelerator.device).eval()
        search = _Search(self, module, _part(clean, 0), target.num_classes, splits.seed)
        other = _part(clean, 1)
        shares = torch.stack([search.followed(added, to, other) for added, to in search.found()])
        means = shares.nanmean(1)
        best = shares[int(means[: self.starts].argmax())]
        query_count = len(shares) * self.steps * search.batch
        return BackdoorEvidence(
            statistics=best.double().cpu().numpy(),
            score=float(means[: self.starts].mean() - means[self.starts :].mean()),
            target_class=None,
            p_value=None,
            forward=query_count + len(clean.pixels) + len(shares) * len(other.pixels),
            backward=query_count,
            remark=clean.remark,
            works=bool(best.nanmean() >= MAJORITY),
        )

    def expected(self, classes: int) -> int:
        """Return how many images go forward and backward for a model of so many classes."""
        return (self.starts + self.controls) * self.steps * min(self.images, 2 * classes) if classes <= MOST else 0


def _part(clean: Clean, first: int) -> Clean:
    return Clean(clean.pixels[first::2], clean.logits[first::2], clean.remark)


@dataclass(eq=False)
class _Search:
    """Perturbations [s, c, ...] on the way, and the running mean [s, k, k] of the log-probabilities by class of the image."""

    settings: UniversalPermutation
    module: nn.Module
    clean: Clean
    classes: int
    seed: int
    order: Tensor = field(init=False)
    chance: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.order = in_turn(self.clean.answers.cpu(), self.classes, self.seed)
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(self.settings.controls, self.classes, self.classes, generator=generator)
        self.chance = assigned(drawn).to(self.clean.pixels.device)

    @property
    def batch(self) -> int:
        """Images of a step, for each perturbation."""
        return min(self.settings.images, 2 * self.classes)

    def found(self) -> list[tuple[Tensor, Tensor]]:
        """Return of each start, then of each control, a perturbation [c, ...] and the assignment int64 [k].

        They are those that the largest share of images followed.
        """
        many, device = self.settings.starts + self.settings.controls, self.clean.pixels.device
        size, mean = torch.full((many,), START, device=device), torch.zeros(many, self.classes, self.classes, device=device)
        noise = torch.randn(many, *self.clean.pixels.shape[1:], generator=torch.Generator().manual_seed(self.seed))
        added = scaled(noise.to(device), size)
        velocity, seen, best = torch.zeros_like(added), torch.zeros_like(size), torch.full_like(size, -1.0)
        kept, kept_to = added.clone(), torch.zeros(many, self.classes, dtype=torch.int64, device=device)
        for number in range(self.settings.steps):
            gradient, follow, mean, to = self._step(added, mean, self._rows(number))
            seen = SEEN * seen + (1 - SEEN) * follow
            better = seen > best
            best, kept_to = torch.where(better, seen, best), torch.where(better[:, None], to, kept_to)
            kept = torch.where(better.view(-1, *[1] * (added.ndim - 1)), added, kept)
            factor = torch.where(follow >= self.settings.success, 1 - self.settings.change, 1 + self.settings.change)
            size = (size * factor).clamp_max(self.settings.largest)
            velocity = MOMENTUM * velocity + scaled(gradient, torch.ones_like(size))
            added = scaled(added - scaled(velocity, size / 2), size)
        return list(zip(kept, kept_to, strict=True))

    def _rows(self, number: int) -> Tensor:
        return self.order[torch.arange(number * self.batch, (number + 1) * self.batch) % len(self.order)].to(self.clean.pixels.device)

    def _step(self, added: Tensor, mean: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradient at `added`, the share [s] of images that follow, the new running mean and the assignment [s, k]."""
        added, of = added.detach().requires_grad_(True), self.clean.answers[rows]
        moved = (self.clean.pixels[rows] + added[:, None]).clamp(0, 1)
        said = self.module(moved.flatten(0, 1)).float().log_softmax(1).view(len(added), len(rows), self.classes)
        mean = running(mean, said.detach(), of)
        to = torch.cat([assigned(mean[: self.settings.starts]), self.chance])
        wanted = to[:, of]
        (gradient,) = torch.autograd.grad(-said.gather(2, wanted[..., None]).mean((1, 2)).sum(), added)
        return gradient, (said.argmax(2) == wanted).float().mean(1), mean, to

    @torch.no_grad()
    def followed(self, added: Tensor, to: Tensor, clean: Clean) -> Tensor:
        """Return by class [k] the share of images that follow the assignment `to`; NaN for a class without images."""
        said = torch.cat([self.module(part).argmax(1) for part in (clean.pixels + added).clamp(0, 1).split(64)])
        follow = (said == to[clean.answers]).float()
        return torch.stack([follow[clean.answers == one].mean() for one in range(self.classes)])


def in_turn(answers: Tensor, classes: int, seed: int) -> Tensor:
    """Return positions of images, two of each class in turn, each class's in seeded random order and again from the start.

    Raises Skipped for classes without an image.
    """
    generator = torch.Generator().manual_seed(seed)
    own = [(answers == one).nonzero()[:, 0] for one in range(classes)]
    empty = [str(one) for one, found in enumerate(own) if not len(found)]
    if empty:
        raise Skipped(f"the model returns class {', '.join(empty[:5])} for no available image: no assignment can be searched for")
    own = [found[torch.randperm(len(found), generator=generator)] for found in own]
    rounds = max(map(len, own))
    return torch.cat([found[torch.arange(2 * turn, 2 * turn + 2) % len(found)] for turn in range(rounds) for found in own])


def running(mean: Tensor, said: Tensor, of: Tensor) -> Tensor:
    """Return the running mean [s, k, k] with the log-probabilities `said` [s, n, k] of images of classes `of` [n]."""
    member = nn.functional.one_hot(of, mean.shape[1]).float()
    count = member.sum(0)
    now = torch.einsum("nk,snj->skj", member, said.clamp_min(FLOOR)) / count.clamp_min(1)[:, None]
    return torch.where((count > 0)[:, None], KEPT * mean + (1 - KEPT) * now, mean)


def assigned(mean: Tensor) -> Tensor:
    """Return int64 [s, k]: for each class another one, no two the same, so that the sum of `mean` [s, k, k] is largest."""
    costs = mean.cpu().numpy().astype(np.float64)
    for one in costs:
        np.fill_diagonal(one, 1e3 * FLOOR)
    found = [linear_sum_assignment(one, maximize=True)[1] for one in costs]
    return torch.as_tensor(np.stack(found), dtype=torch.int64, device=mean.device)
