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
from securitynet.attacks.backdoor._features import by_label
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class SpectralSignatures:
    """Share of the variance along the first singular vector, class by class; a sample's score is its squared projection."""

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return the shares, NaN for classes of under ten images, and a score per training image. Raises Skipped without them."""
        return by_label(signature, target, splits, accelerator)


def signature(features: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return the share of the variance of features [n, d] along their first singular vector, and the squared projections [n] on it."""
    scores = projections(features)
    total = np.square(features - features.mean(axis=0)).sum()
    return float(scores.sum() / total) if total > 0 else 0.0, scores


def projections(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared projections [n] of features [n, d], centred, on their first right singular vector."""
    centred = features - features.mean(axis=0)
    first = np.linalg.svd(centred, full_matrices=False)[2][0]
    return np.asarray(np.square(centred @ first))
