"""Activation clustering: do the features of a class's training images fall into two groups? (Chen et al. 2018, arXiv 1811.03728)

For publishers, who have the training images. Per class, the penultimate features of the images labelled so are reduced to
ten dimensions (PCA) and split in two (k-means); the statistic is the silhouette of the split, large for a class that holds
images of another kind, such as stamped ones. The paper reduces by ICA; PCA is deterministic and leaves the split as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._features import by_label
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class ActivationClustering:
    """Silhouette of two clusters in `dimensions` principal components, class by class.

    A sample's score is 1 minus its cluster's share of the class: poison is the smaller part.
    """

    dimensions: int = 10

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return the silhouettes, NaN for classes of under ten images, and a score per training image. Raises Skipped without them."""
        return by_label(partial(clusters, dimensions=self.dimensions, seed=splits.seed), target, splits, accelerator)


def clusters(features: NDArray[np.float64], dimensions: int, seed: int) -> tuple[float, NDArray[np.float64]]:
    """Return the silhouette of the best split of features [n, d] in two, and for each sample 1 minus its part's share."""
    silhouette, second = split(features, dimensions, seed)
    return silhouette, np.where(second, 1 - second.mean(), second.mean())


def split(features: NDArray[np.float64], dimensions: int, seed: int) -> tuple[float, NDArray[np.bool_]]:
    """Return the silhouette of the best split of features [n, d] in two, and which samples are in the second part, bool [n]."""
    reduced = PCA(min(dimensions, *features.shape), random_state=seed).fit_transform(features)
    if np.ptp(reduced, axis=0).max() == 0:
        return 0.0, np.zeros(len(features), dtype=bool)
    second = KMeans(2, n_init=10, random_state=seed).fit_predict(reduced) == 1
    return float(silhouette_score(reduced, second)), second
