"""Label-only, by distance to the decision boundary (Choquette-Choo et al. 2021; Li & Zhang 2021), all images in one batch.

The distance is found by HopSkipJump (Chen et al. 2020, L2) with a small budget: the walk starts at the nearest image that
the model calls something else, whose label is known from the shared pass and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from securitynet.attacks.membership import MembershipEvidence, ask, half
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits

SUITES = ("full",)
BATCH = 1024
CANDIDATES = 1000


class Labels:
    """The model as an oracle of labels; counts what it is asked."""

    def __init__(self, target: Target, accelerator: Accelerator) -> None:
        self.module, self.device, self.asked = target.module.to(accelerator.device), accelerator.device, 0

    @torch.inference_mode()
    def differ(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return bool [n]: the model does not give images [n, ...] their label."""
        if not len(images):
            return torch.empty(0, dtype=torch.bool)
        self.asked += len(images)
        parts = [self.module(part.to(self.device)).argmax(1).cpu() for part in images.split(BATCH)]
        return torch.cat(parts) != labels


@dataclass(frozen=True)
class Boundary:
    """L2 distance to the nearest image found that is labelled otherwise; 0 where the model is wrong already.

    At most `search` + `iterations` * (`directions` + `halvings` + `search`) queries an image; at most `images` members and
    as many non-members.
    """

    images: int = 500
    iterations: int = 3
    directions: int = 24
    search: int = 7
    halvings: int = 4

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the distances of a seeded sample of members and non-members."""
        answers = ask(target, splits, accelerator)
        assert splits.members is not None and splits.non_members is not None
        rng = np.random.default_rng(splits.seed)
        oracle, generator = Labels(target, accelerator), torch.Generator().manual_seed(splits.seed)
        predictions = torch.from_numpy(np.concatenate([outputs.predictions for outputs in answers]))
        picked = [np.sort(rng.permutation(len(part.labels))[: self.images]) for part in answers]
        pool = _pool((splits.members, splits.non_members), predictions, rng)
        scores, spent = [], 0
        for part, outputs, rows in zip((splits.members, splits.non_members), answers, picked, strict=True):
            images, labels = part.pixels(rows), torch.from_numpy(outputs.labels[rows])
            right = torch.from_numpy(outputs.predictions[rows]) == labels
            distance = torch.zeros(len(rows), dtype=torch.float64)
            distance[right] = self.distances(images[right], labels[right], _starts(images[right], labels[right], *pool), oracle, generator)
            scores.append(distance.numpy())
            spent += len(rows)
        known = half(len(scores[0]), splits.seed), half(len(scores[1]), splits.seed + 1)
        return MembershipEvidence(scores[0], scores[1], *known, seed=splits.seed, asked=spent + oracle.asked)

    def distances(
        self, images: torch.Tensor, labels: torch.Tensor, starts: torch.Tensor, oracle: Labels, generator: torch.Generator
    ) -> torch.Tensor:
        """Return float64 [n], the L2 distance of each image to the boundary point that the walk from its start ends at."""
        edge = self._to_boundary(images, starts, labels, oracle)
        for step in range(1, self.iterations + 1):
            away = _norm(edge - images)
            normal = self._normal(edge, away, labels, oracle, generator)
            moved, found = self._step(edge, normal, away / step**0.5, labels, oracle)
            closer = self._to_boundary(images, moved, labels, oracle)
            better = found & (_norm(closer - images) < away)
            edge = torch.where(_wide(better, edge), closer, edge)
        return _norm(edge - images).double()

    def _to_boundary(self, images: torch.Tensor, outside: torch.Tensor, labels: torch.Tensor, oracle: Labels) -> torch.Tensor:
        """Halve the way between image and a point labelled otherwise; the end stays on the other side."""
        low, high = torch.zeros(len(images)), torch.ones(len(images))
        for _ in range(self.search):
            middle = (low + high) / 2
            other = oracle.differ(images + _wide(middle, images) * (outside - images), labels)
            low, high = torch.where(other, low, middle), torch.where(other, middle, high)
        return images + _wide(high, images) * (outside - images)

    def _normal(
        self, edge: torch.Tensor, away: torch.Tensor, labels: torch.Tensor, oracle: Labels, generator: torch.Generator
    ) -> torch.Tensor:
        """Return unit vectors [n, ...] towards the other side, a Monte-Carlo estimate (equation 16) with a baseline."""
        count, size = self.directions, edge.shape[1:].numel()
        noise = torch.randn(len(edge), count, size, generator=generator)
        noise /= noise.norm(dim=2, keepdim=True)
        radius = (away / 10).clamp_min(1e-3)
        probes = (edge.flatten(1)[:, None] + radius[:, None, None] * noise).clamp(0, 1)
        signs = oracle.differ(probes.view(-1, *edge.shape[1:]), labels.repeat_interleave(count)).view(-1, count).float() * 2 - 1
        mean = signs.mean(1, keepdim=True)
        weights = torch.where(mean.abs() == 1, signs, signs - mean)
        direction = (weights[:, :, None] * noise).mean(1).view_as(edge)
        return direction / _wide(_norm(direction).clamp_min(1e-12), edge)

    def _step(
        self, edge: torch.Tensor, normal: torch.Tensor, length: torch.Tensor, labels: torch.Tensor, oracle: Labels
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Go along the normal, half as far each time, until the label is another one; return where, and whether it was found."""
        moved, found = edge.clone(), torch.zeros(len(edge), dtype=torch.bool)
        for _ in range(self.halvings):
            rows = (~found).nonzero()[:, 0]
            if not len(rows):
                break
            candidate = (edge[rows] + _wide(length[rows], edge[rows]) * normal[rows]).clamp(0, 1)
            other = oracle.differ(candidate, labels[rows])
            moved[rows[other]], found[rows[other]] = candidate[other], True
            length = length / 2
        return moved, found


def _pool(parts: tuple[Split, Split], predictions: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return some images of both splits with what the model calls them: where walks may start."""
    chosen = np.sort(rng.permutation(len(predictions))[:CANDIDATES])
    first = len(parts[0])
    images = torch.cat([parts[0].pixels(chosen[chosen < first]), parts[1].pixels(chosen[chosen >= first] - first)])
    return images, predictions[torch.from_numpy(chosen)]


def _starts(images: torch.Tensor, labels: torch.Tensor, pool: torch.Tensor, called: torch.Tensor) -> torch.Tensor:
    """Return the nearest image of the pool that the model calls something else, for each image."""
    apart = torch.cdist(images.flatten(1), pool.flatten(1)).masked_fill(called[None] == labels[:, None], torch.inf)
    nearest = apart.min(dim=1)
    if not torch.isfinite(nearest.values).all():
        raise Skipped("no image that the model calls something else: a constant predictor has no boundary to find")
    return pool[nearest.indices]


def _norm(difference: torch.Tensor) -> torch.Tensor:
    return difference.flatten(1).norm(dim=1)


def _wide(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return values [n] with as many trailing dimensions as `like`."""
    return values.view(-1, *([1] * (like.ndim - 1)))
