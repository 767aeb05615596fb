"""Gradient-boosted trees on sorted posteriors, the label's probability and its correctness: a stronger learned baseline than the MLP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

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
    """Histogram gradient boosting on the `top` log-posteriors, log-odds of the label, entropies and correctness."""

    top: int = 5
    trees: int = 100
    learning_rate: float = 0.05

    beside: ClassVar[tuple[Loss, ...]] = (Loss(held_out=True),)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the fitted trees' log-odds of membership for all; the metrics are of the half they were not fitted on."""
        return fitted(self._features, self._classifier, target, splits, accelerator)

    def _features(self, outputs: Outputs) -> Features:
        largest = np.sort(outputs.log_probabilities, axis=1)[:, ::-1][:, : self.top]
        columns = (scores.log_likelihood, scores.log_odds, scores.negative_entropy, scores.negative_modified_entropy)
        return np.column_stack([largest, *[score(outputs) for score in columns], outputs.predictions == outputs.labels])

    def _classifier(self, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            learning_rate=self.learning_rate, max_iter=self.trees, max_leaf_nodes=15, early_stopping=True, random_state=seed
        )
