"""A small neural network on sorted posteriors (Salem et al. 2019), fitted on known members and non-members, scored on the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._learned import Features, fitted, sorted_posteriors
from securitynet.attacks.membership.loss import Loss
from securitynet.target import Outputs, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class Mlp:
    """Multi-layer perceptron on the posteriors in descending order: all of them, or the `top` largest.

    `label` adds the probability of the label and whether it is the prediction. Features are standardised on the known half;
    early stopping keeps a tenth of that half aside; the score is the mean over `fits` seeds.
    """

    top: int | None = None
    label: bool = False
    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-3
    epochs: int = 200
    fits: int = 3

    beside: ClassVar[tuple[Loss, ...]] = (Loss(held_out=True),)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the fitted networks' log-odds of membership for all; the metrics are of the half they were not fitted on."""
        return fitted(self._features, self._classifier, target, splits, accelerator)

    def _features(self, outputs: Outputs) -> Features:
        posteriors = sorted_posteriors(outputs, self.top)
        if not self.label:
            return posteriors
        of_label = np.exp(np.take_along_axis(outputs.log_probabilities, outputs.labels[:, None], axis=1))
        return np.hstack([posteriors, of_label, (outputs.predictions == outputs.labels)[:, None]])

    def _classifier(self, seed: int) -> Any:
        from sklearn.ensemble import VotingClassifier
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        options = {"learning_rate_init": self.learning_rate, "max_iter": self.epochs, "early_stopping": True}
        networks = [(str(fit), MLPClassifier(self.hidden, random_state=1000 * seed + fit, **options)) for fit in range(self.fits)]
        return make_pipeline(StandardScaler(), VotingClassifier(networks, voting="soft"))


VARIANTS = (Mlp(), Mlp(top=3), Mlp(label=True))
