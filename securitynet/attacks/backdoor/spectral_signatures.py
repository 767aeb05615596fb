"""Spectral signatures: poison leaves a direction in the features of its class (Tran, Li, Madry 2018, arXiv 1811.00636).

For publishers, who have the training images. Per class, the penultimate features of the images labelled so are centred; a
sample's score is its squared projection on their first right singular vector. The class's statistic is the share of all
variance that lies along it: a class of one kind spreads over many directions, a poisoned one along one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor.features import SampleEvidence, training_features
from securitynet.attacks.backdoor.outliers import first_candidate, standardised_gap
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
FEWEST = 10  # images of a class, below which it has no statistic


@dataclass(frozen=True)
class SpectralSignatures:
    """Share of the variance along the first singular vector, class by class; a sample's score is its squared projection."""

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return the shares, NaN for classes of under ten images, and a score per training image. Raises Skipped without them."""
        found = training_features(target, splits, accelerator)
        statistics, scores = np.full(target.num_classes, np.nan), np.full(len(found.labels), np.nan)
        for label in range(target.num_classes):
            of_class = np.flatnonzero(found.labels == label)
            if len(of_class) >= FEWEST:
                scores[of_class] = projections(found.features[of_class])
                total = np.square(found.features[of_class] - found.features[of_class].mean(axis=0)).sum()
                statistics[label] = scores[of_class].sum() / total if total > 0 else 0.0
        return SampleEvidence(
            statistics=statistics,
            score=standardised_gap(statistics),
            target_class=first_candidate(statistics),
            p_value=None,
            forward=len(scores),
            samples=scores,
        )


def projections(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared projections [n] of features [n, d], centred, on their first right singular vector."""
    centred = features - features.mean(axis=0)
    first = np.linalg.svd(centred, full_matrices=False)[2][0]
    return np.asarray(np.square(centred @ first))
