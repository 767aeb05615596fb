"""Beatrix: an image with a trigger has other Gram matrices than clean images of its class (Ma et al., NDSS 2023, arXiv 2209.11715).

For publishers, who have the training images, and some clean ones to compare with. Per class, the median and the median
absolute deviation of every element of the Gram matrices (of several orders) over clean images say what is usual; the deviation
of an image is its mean distance from the median in these units. As published, images are judged, by the part of the distance
beyond ten deviations. Restated for a model: a class's statistic is how far its training images lie, on average, above clean
images that the medians have not seen, in standard deviations of these. The whole distance in place of the part beyond ten,
and three orders in two layers in place of up to nine in one, were chosen on the population of the benchmark. With `suspects`,
given images are judged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._features import SampleEvidence
from securitynet.attacks.backdoor._gram import Grams, Site, grams, sites
from securitynet.attacks.backdoor._outliers import Statistics, first_candidate
from securitynet.attacks.backdoor._suspects import judge
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits

SUITES = ("full",)
FEWEST = 8  # clean or training images of a class, below which it has no statistic
FARTHEST = 50.0  # that one element may count
CLEAN = 512  # clean images when suspicious ones are judged
NEEDS = "needs the images that the model was trained on, with the labels it was given, and clean ones that it was not"


@dataclass(frozen=True)
class Beatrix:
    """`per_class` training and as many clean images of each class, Gram matrices of `orders` over at most `channels` channels.

    The score is the largest statistic of a class. `suspects` is a path to images to judge instead of the model: an image
    file, a folder of them, or a .npy file.
    """

    per_class: int = 100
    orders: tuple[int, ...] = (1, 2, 4)
    channels: int = 64
    suspects: str | None = None

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return every class's deviation, NaN for classes of under eight images, and a score per training image looked at.

        Raises Skipped where training images or clean ones are missing.
        """
        places = sites(target, accelerator, self.channels, splits.seed)
        if self.suspects is not None:
            return self._judged(self.suspects, places, target, splits, accelerator)
        members, clean = needed(splits)
        statistics, samples, query_count = np.full(target.num_classes, np.nan), np.full(len(members), np.nan), 0
        for label in range(target.num_classes):
            own, usual = (self._drawn(split, label, splits.seed) for split in (members, clean))
            if min(len(own), len(usual)) < FEWEST:
                continue
            known = grams(target, clean.pixels(usual), places, self.orders, accelerator)
            query_count += len(usual)
            right = (known.answers == label).nonzero()[:, 0]
            if len(right) >= FEWEST:
                found = grams(target, members.pixels(own), places, self.orders, accelerator)
                samples[own] = unusual(found, Grams(known.answers[right], tuple(one[right] for one in known.matrices)))
                statistics[label], query_count = samples[own].mean(), query_count + len(own)
        first = first_candidate(statistics)
        return SampleEvidence(
            statistics=statistics,
            score=float(statistics[first]),
            target_class=first,
            p_value=None,
            forward=query_count,
            samples=samples,
        )

    def _drawn(self, split: Split, label: int, seed: int) -> NDArray[np.int64]:
        """The places of at most `per_class` images of a class, drawn by seed."""
        of_class = np.flatnonzero(split.labels == label)
        return np.sort(np.random.default_rng([seed, label]).permutation(of_class)[: self.per_class])

    def _judged(self, path: str, places: list[Site], target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Given images, each held against clean ones with the same predicted class, against all of them where these are few."""
        query_count = 0

        def score(images: Tensor, reference: Tensor) -> Statistics:
            nonlocal query_count
            query_count += len(images) + len(reference)
            usual, found = (grams(target, some, places, self.orders, accelerator) for some in (reference, images))
            scores = np.zeros(len(images))
            for label in found.answers.unique():
                of_class, alike = (found.answers == label).nonzero()[:, 0], (usual.answers == label).nonzero()[:, 0]
                if len(alike) < FEWEST:
                    alike = torch.arange(len(reference), device=alike.device)
                parts = [Grams(one.answers[at], tuple(m[at] for m in one.matrices)) for one, at in ((found, of_class), (usual, alike))]
                scores[of_class.cpu().numpy()] = unusual(*parts)
            return scores

        return replace(judge(score, path, target, splits, accelerator, CLEAN), forward=query_count)


def needed(splits: Splits) -> tuple[Split, Split]:
    """Return training images and clean ones. Raises Skipped where either is missing."""
    clean = splits.test or splits.non_members
    if splits.members is None or splits.membership == "unknown" or clean is None:
        raise Skipped(NEEDS)
    return splits.members, clean


def unusual(found: Grams, usual: Grams) -> Statistics:
    """Return how unusual each of `found` [n] is among `usual` [m]: its deviation in standard deviations above theirs, over the sites.

    Half of `usual` gives the medians for the other, so that theirs are the deviations of images not seen before.
    """
    total = np.zeros(len(found.answers))
    for matrices, reference in zip(found.matrices, usual.matrices, strict=True):
        halves = reference[::2], reference[1::2]
        own = sum(deviations(matrices, half) for half in halves) / 2
        others = np.concatenate([deviations(halves[1], halves[0]), deviations(halves[0], halves[1])])
        total += (own - others.mean()) / (others.std() + 1e-3)
    return total / len(found.matrices)


def deviations(matrices: Tensor, reference: Tensor) -> Statistics:
    """Return the deviation [n] of `matrices` [n, orders, d] from `reference` [m, orders, d].

    The mean over the elements of |x - median| / MAD, at most 50 each, its log(1 + ...) averaged over the orders. A thousandth
    of an element's mean is added to its MAD, so that elements that never change do not decide.
    """
    median = reference.median(0).values
    scale = (reference - median).abs().median(0).values + 1e-3 * reference.abs().mean(0) + 1e-9
    away = ((matrices - median).abs() / scale).clamp_max(FARTHEST).mean(2)
    return np.asarray(away.log1p().mean(1).double().cpu().numpy())
