"""Quantile regression (Bertran et al. 2023): what score would this image have, had the model never seen it? From non-members only.

A regressor learns mean and spread of the log-odds of known non-members from the image itself (principal components of its
pixels) and its label; the score is the standardised distance above that. The original regresses with a convolutional
network; the definition of the score is theirs, the regressor (boosted trees) is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.membership import MembershipEvidence, ask, half
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership._learned import FEWEST
from securitynet.controls.views import small_images
from securitynet.errors import Skipped
from securitynet.target import Target
from securitynet.threads import one_thread

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quantile:
    """Gaussian form: score (phi - mu(x, y)) / sigma(x, y), the log-odds standardised by what non-members like this one give."""

    components: int = 16
    trees: int = 60
    folds: int = 3

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the standardised log-odds; no member is used for fitting, the metrics are of the halves not known."""
        members, non_members = ask(target, splits, accelerator)
        assert splits.members is not None and splits.non_members is not None
        known = half(len(members.labels), splits.seed), half(len(non_members.labels), splits.seed + 1)
        if min(known[1].sum(), (~known[1]).sum()) < FEWEST:
            raise Skipped(f"quantile regression needs at least {FEWEST} known non-members")
        images = small_images(splits.members), small_images(splits.non_members)
        labels = [_labels(outputs.labels, target.num_classes) for outputs in (members, non_members)]
        samples = [Samples(*parts) for parts in zip(images, labels, map(log_odds, (members, non_members)), strict=True)]
        with one_thread():
            scores = [self._standardised(samples, mask, splits.seed) for mask in (known[1], ~known[1])]
        return MembershipEvidence(*scores[0], *known, held_out=True, seed=splits.seed, swapped=scores[1], calibrated=True)

    def _standardised(self, samples: Sequence[Samples], known: NDArray[np.bool_], seed: int) -> tuple[Array, Array]:
        """Return the scores of members and non-members by a fit on the known non-members."""
        reduced = self._components(samples[1].images[known], seed)
        features = [np.column_stack([reduced.transform(one.images), one.labels]) for one in samples]
        centre, spread = self._fitted(features[1][known], samples[1].phi[known], seed)
        inside, outside = ((one.phi - centre.predict(part)) / spread(part) for one, part in zip(samples, features, strict=True))
        return inside, outside

    def _components(self, images: Array, seed: int) -> Any:
        from sklearn.decomposition import PCA

        return PCA(min(self.components, len(images), images.shape[1]), random_state=seed).fit(images)

    def _fitted(self, features: Array, phi: Array, seed: int) -> tuple[Any, Any]:
        """Return the regressor of the mean and the function of the deviation, the latter fitted on out-of-fold residuals."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.model_selection import cross_val_predict

        options = {"max_iter": self.trees, "max_leaf_nodes": 8, "min_samples_leaf": 20, "learning_rate": 0.08, "random_state": seed}
        model = HistGradientBoostingRegressor(**options)
        residuals = np.abs(phi - cross_val_predict(model, features, phi, cv=self.folds))
        floor = max(float(np.median(residuals)) * 0.1, 1e-9)
        scale = HistGradientBoostingRegressor(**options).fit(features, np.log(residuals + floor))
        return model.fit(features, phi), lambda part: np.exp(scale.predict(part))


@dataclass(frozen=True, eq=False)
class Samples:
    """Members or non-members: small images [n, p], columns of labels [n, q], the log-odds [n]."""

    images: Array
    labels: Array
    phi: Array


def _labels(labels: NDArray[np.int64], classes: int) -> Array:
    """One column per class where there are few, else the label as a number."""
    return np.eye(classes)[labels] if classes <= 20 else labels[:, None].astype(np.float64)
