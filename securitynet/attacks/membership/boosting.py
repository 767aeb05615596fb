"""Gradient-boosted trees on sorted posteriors, the label's probability and its correctness: a stronger learned baseline than the MLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership import _formulas as scores
from securitynet.attacks.membership._learned import Features, fitted
from securitynet.attacks.membership.loss import Loss
from securitynet.target import Outputs, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Boosting:
    """Histogram gradient boosting on the `top` log-posteriors, log-odds of the label, entropies and correctness.

    Both groups weigh the same. Skipped where the log-loss of a tenth of the known half does not fall below that of guessing.
    """

    top: int = 5
    trees: int = 100
    learning_rate: float = 0.05

    beside: ClassVar[tuple[Loss, ...]] = (Loss(held_out=True),)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the fitted trees' log-odds of membership for all; the metrics are of the half they were not fitted on."""
        return fitted(self._features, self._fit, target, splits, accelerator)

    def _features(self, outputs: Outputs) -> Features:
        largest = np.sort(outputs.log_probabilities, axis=1)[:, ::-1][:, : self.top]
        columns = (scores.log_likelihood, scores.log_odds, scores.negative_entropy, scores.negative_modified_entropy)
        return np.column_stack([largest, *[score(outputs) for score in columns], outputs.predictions == outputs.labels])

    def _fit(self, features: Features, is_member: NDArray[np.int64], seed: int) -> Trees:
        from sklearn.ensemble import HistGradientBoostingClassifier

        options = {"learning_rate": self.learning_rate, "max_iter": self.trees, "max_leaf_nodes": 15, "early_stopping": True}
        model = HistGradientBoostingClassifier(**options, class_weight="balanced", random_state=seed)
        return Trees(model.fit(features, is_member))


@dataclass(frozen=True, eq=False)
class Trees:
    """Boosted trees, with scikit-learn's own tenth kept aside."""

    model: Any

    @property
    def gain(self) -> float:
        """What the last tree's log-loss on the tenth gained over that before the first, which is guessing, in nats."""
        return float(self.model.validation_score_[-1] - self.model.validation_score_[0])

    def predict_proba(self, features: Features) -> Features:
        """Return the probabilities of non-member and member [n, 2]."""
        return np.asarray(self.model.predict_proba(features))
