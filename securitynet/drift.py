"""The control without a model: do members and non-members differ by themselves?

If a classifier that never saw the model tells them apart from their pixels, what a membership attack finds is the drift
between two collections of images, not what the model remembers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.intervals import Estimate
from securitynet.metrics.membership import auc
from securitynet.metrics.vocabulary import AUC

if TYPE_CHECKING:
    from securitynet.data import Split, Splits

SEPARABLE = 0.53
SAMPLES = 2500
FEWEST = 50
CAUSE = "split separable without the model"


def drift(splits: Splits) -> Estimate:
    """Return the AUC, with DeLong's interval, of randomised trees on the images made small, out of fold (three folds)."""
    if splits.members is None or splits.non_members is None or min(len(splits.members), len(splits.non_members)) < FEWEST:
        return Estimate(AUC, None, 0, reason=f"needs {FEWEST} members and {FEWEST} non-members")
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    parts = [small_images(part, SAMPLES, splits.seed) for part in (splits.members, splits.non_members)]
    images, labels = np.concatenate(parts), np.repeat([1, 0], [len(part) for part in parts])
    folds = StratifiedKFold(3, shuffle=True, random_state=splits.seed)
    trees = ExtraTreesClassifier(50, min_samples_leaf=3, random_state=0)
    scores = cross_val_predict(trees, images, labels, cv=folds, method="predict_proba")[:, 1]
    return auc(scores[labels == 1], scores[labels == 0])


def separable(value: float | None, ci_low: float | None) -> bool:
    """Say whether an AUC of drift() with that lower end means a separable split: all of the interval lies above 0.53."""
    return value is not None and ci_low is not None and ci_low > SEPARABLE


def small_images(split: Split, samples: int | None = None, seed: int = 0, side: int = 16) -> NDArray[np.float64]:
    """Return images as rows, averaged down to at most side x side pixels, [n, c * side * side]: all, or a seeded sample."""
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    chosen = np.arange(len(split))
    if samples is not None and len(chosen) > samples:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, samples, replace=False))
    rows = []
    for start in range(0, len(chosen), 500):
        pixels = split.pixels(chosen[start : start + 500])
        pixels = pixels.flatten(1, -3) if pixels.ndim > 4 else pixels  # the slices of a volume become channels
        rows.append(adaptive_avg_pool2d(pixels, (min(side, pixels.shape[-2]), min(side, pixels.shape[-1]))).flatten(1))
    return torch.cat(rows).double().numpy()
