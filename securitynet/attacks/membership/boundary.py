"""Label-only, by distance to the decision boundary (Choquette-Choo et al. 2021; Li & Zhang 2021), all images in one batch.

The walk starts at the nearest attacked image that the model calls something else, whose label is known and costs nothing.
Each step estimates the boundary's normal from labels of noisy copies (as HopSkipJump, Chen et al. 2020) and follows the half
circle over the way between image and boundary, which crosses the boundary nearer by (as CGBA, Reza et al. 2023). Noise drawn
on a coarse grid and enlarged (the idea of QEBA, Li et al. 2020) finds normals of many models with far fewer queries, but not of
all: in the first steps every image tries each grid, in turns, and then all keep to the one that brought them nearer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import interpolate

from securitynet.attacks.membership import MembershipEvidence, ask, half
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
VALUES = 2**22  # pixels that are worked on at once
TINY = 1e-12


class Labels:
    """The model as an oracle of labels; counts its queries."""

    def __init__(self, target: Target, accelerator: Accelerator) -> None:
        self.module, self.device, self.query_count = target.module.to(accelerator.device), accelerator.device, 0

    @torch.inference_mode()
    def differ(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return bool [n]: the model does not give images [n, ...] their label."""
        if not len(images):
            return torch.empty(0, dtype=torch.bool)
        self.query_count += len(images)
        parts = [self.module(part.to(self.device)).argmax(1).cpu() for part in images.split(at_once(images))]
        return torch.cat(parts) != labels


@dataclass(frozen=True)
class Boundary:
    """L2 distance to the nearest image found that is labelled otherwise; 0 where the model is wrong already.

    At most 1 + `search` + `iterations` * (`directions` + `search`) queries an image; at most `images` members and as many
    non-members. `grids`: sides of the grids on which noise is drawn, at most the image's own.
    """

    images: int = 500
    iterations: int = 5
    directions: int = 24
    search: int = 7
    grids: tuple[int, ...] = (8, 32)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the distances of a seeded sample of members and non-members."""
        returned = ask(target, splits, accelerator)
        assert splits.members is not None and splits.non_members is not None
        rng = np.random.default_rng(splits.seed)
        rows = [np.sort(rng.permutation(len(part.labels))[: self.images]) for part in returned]
        images = torch.cat([part.pixels(chosen) for part, chosen in zip((splits.members, splits.non_members), rows, strict=True)])
        picked = list(zip(returned, rows, strict=True))
        labels = torch.from_numpy(np.concatenate([part.labels[chosen] for part, chosen in picked]))
        called = torch.from_numpy(np.concatenate([part.predictions[chosen] for part, chosen in picked]))
        right, oracle = called == labels, Labels(target, accelerator)
        distance = torch.zeros(len(images), dtype=torch.float64)
        if right.any():
            walk = Walk(images[right], labels[right], oracle, torch.Generator().manual_seed(splits.seed))
            distance[right] = self.distances(walk, _starts(walk, images, called))
        members, non_members = np.split(distance.numpy(), [len(rows[0])])
        known = half(len(members), splits.seed), half(len(non_members), splits.seed + 1)
        return MembershipEvidence(members, non_members, *known, seed=splits.seed, query_count=len(images) + oracle.query_count)

    def distances(self, walk: Walk, starts: torch.Tensor) -> torch.Tensor:
        """Return float64 [n], the L2 distance of each image to the boundary point that the walk from its start ends at."""
        edge, sides = walk.to_boundary(starts, self.search), torch.tensor(self.grids)
        turns, nearer = torch.arange(len(edge)), torch.zeros(len(sides))
        for step in range(self.iterations):
            trying = step < len(sides)
            turn = (turns + step) % len(sides) if trying else nearer.argmin().expand(len(edge))
            closer = walk.along_arc(edge, walk.normal(edge, sides[turn], self.directions), self.search)
            if trying:
                nearer.index_add_(0, turn, (walk.away(closer) / walk.away(edge).clamp_min(TINY)).clamp_min(TINY).log())
            edge = closer
        return walk.away(edge).double()


@dataclass(frozen=True, eq=False)
class Walk:
    """Images [n, ...] that the model gives their labels [n], and points on the other side that are to come nearer."""

    images: torch.Tensor
    labels: torch.Tensor
    oracle: Labels
    generator: torch.Generator

    def away(self, points: torch.Tensor) -> torch.Tensor:
        """Return the L2 distance [n] of each point to its image."""
        return (points - self.images).flatten(1).norm(dim=1)

    def to_boundary(self, outside: torch.Tensor, halvings: int) -> torch.Tensor:
        """Halve the way between images and points labelled otherwise; the ends stay on the other side."""
        low, high = torch.zeros(len(outside)), torch.ones(len(outside))
        for _ in range(halvings):
            middle = (low + high) / 2
            other = self.oracle.differ(self.images + _wide(middle, outside) * (outside - self.images), self.labels)
            low, high = torch.where(other, low, middle), torch.where(other, middle, high)
        return self.images + _wide(high, outside) * (outside - self.images)

    def normal(self, edge: torch.Tensor, grids: torch.Tensor, count: int) -> torch.Tensor:
        """Return directions [n, ...] towards the other side: the mean of `count` noises, weighted by the labels they lead to.

        `grids` int64 [n] is the side of each image's noise.
        """
        radius, found = (self.away(edge) / 10).clamp_min(1e-3), torch.empty_like(edge)
        chunks = [(int(grid), rows) for grid in grids.unique() for rows in (grids == grid).nonzero()[:, 0].split(at_once(edge, count))]
        for grid, rows in chunks:
            noise = self._noise(edge[rows], grid, count)
            probes = (edge[rows, None] + _wide(radius[rows], noise) * noise).clamp(0, 1).flatten(0, 1)
            signs = self.oracle.differ(probes, self.labels[rows].repeat_interleave(count)).view(-1, count).float() * 2 - 1
            mean = signs.mean(1, keepdim=True)  # subtracted for less variance (Chen et al. 2020, equation 16)
            weights = torch.where(mean.abs() == 1, signs, signs - mean)
            found[rows] = torch.einsum("nc,nc...->n...", weights, noise)
        return found

    def along_arc(self, edge: torch.Tensor, normal: torch.Tensor, halvings: int) -> torch.Tensor:
        """Return the nearest points found on half circles from edge to image, bent towards the normal; never farther than edge."""
        away = self.away(edge)
        way = _unit((edge - self.images).flatten(1))
        normal = normal.flatten(1)
        bend = _unit(normal - (normal * way).sum(1, keepdim=True) * way)
        low, high = torch.zeros(len(edge)), torch.full((len(edge),), math.pi / 2)
        for _ in range(halvings):
            angle = ((low + high) / 2)[:, None]
            chord = away[:, None] * angle.cos() * (angle.cos() * way + angle.sin() * bend)
            point = (self.images + chord.view_as(edge)).clamp(0, 1)
            other = self.oracle.differ(point, self.labels) & (self.away(point) <= self.away(edge))
            low, high = torch.where(other, angle[:, 0], low), torch.where(other, high, angle[:, 0])
            edge = torch.where(_wide(other, edge), point, edge)
        return edge

    def _noise(self, like: torch.Tensor, grid: int, count: int) -> torch.Tensor:
        """Return unit vectors [n, count, ...], drawn on a grid of at most that side and enlarged to the image."""
        sides = like.shape[2:]
        coarse = [min(grid, side) for side in sides]
        noise = torch.randn(len(like) * count, like.shape[1], *coarse, generator=self.generator)
        if coarse != list(sides):
            noise = interpolate(noise, size=list(sides), mode="bilinear" if len(sides) == 2 else "trilinear")
        return _unit(noise.flatten(1)).view(len(like), count, *like.shape[1:])


def at_once(images: torch.Tensor, copies: int = 1) -> int:
    """Return how many such images, with so many copies of each, are worked on at once."""
    return max(1, VALUES // (images[0].numel() * copies))


def _starts(walk: Walk, pool: torch.Tensor, called: torch.Tensor) -> torch.Tensor:
    """Return the nearest image of the pool that the model calls something else, for each image of the walk."""
    apart = torch.cdist(walk.images.flatten(1), pool.flatten(1)).masked_fill(called[None] == walk.labels[:, None], torch.inf)
    nearest = apart.min(dim=1)
    if not torch.isfinite(nearest.values).all():
        raise Skipped("no image that the model calls something else: a constant predictor has no boundary to find")
    return pool[nearest.indices]


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    """Return the rows [n, m] at length 1."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(TINY)


def _wide(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return values [n] with as many trailing dimensions as `like`."""
    return values.view(-1, *([1] * (like.ndim - 1)))
