"""A small neural network on sorted posteriors (Salem et al. 2019), fitted on known members and non-members, scored on the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.membership import MembershipEvidence, ask, half
from securitynet.attacks.membership.loss import Loss
from securitynet.errors import Skipped
from securitynet.target import Outputs, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")
FEWEST = 50


@dataclass(frozen=True)
class Mlp:
    """Multi-layer perceptron on the posteriors in descending order: all of them, or the `top` largest.

    Features are standardised on the known half. Early stopping keeps a tenth of that half aside.
    """

    top: int | None = None
    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-3
    epochs: int = 200

    beside: ClassVar[tuple[Loss, ...]] = (Loss(held_out=True),)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the fitted network's log-odds of membership for all; the metrics are of the half it was not fitted on."""
        members, non_members = ask(target, splits, accelerator)
        known = half(len(members.labels), splits.seed), half(len(non_members.labels), splits.seed + 1)
        if min(known[0].sum(), known[1].sum()) < FEWEST:
            raise Skipped(f"a learned attack needs at least {FEWEST} known members and {FEWEST} known non-members")
        features = [self._features(outputs) for outputs in (members, non_members)]
        model = self._fitted(features[0][known[0]], features[1][known[1]], splits.seed)
        scores = [_log_odds(model, part) for part in features]
        return MembershipEvidence(scores[0], scores[1], *known, held_out=True, seed=splits.seed)

    def _features(self, outputs: Outputs) -> NDArray[np.float64]:
        posteriors = np.sort(np.exp(outputs.log_probabilities), axis=1)[:, ::-1]
        return np.ascontiguousarray(posteriors[:, : self.top])

    def _fitted(self, members: NDArray[np.float64], non_members: NDArray[np.float64], seed: int) -> Any:
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        network = MLPClassifier(
            self.hidden, learning_rate_init=self.learning_rate, max_iter=self.epochs, early_stopping=True, n_iter_no_change=10, random_state=seed
        )
        labels = np.repeat([1, 0], [len(members), len(non_members)])
        return make_pipeline(StandardScaler(), network).fit(np.concatenate([members, non_members]), labels)


VARIANTS = (Mlp(), Mlp(top=3))


def _log_odds(model: Any, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p(member) - log p(non-member) [n]; the classifier's own log-probabilities, bounded where it saturates."""
    log_p = np.maximum(model.predict_log_proba(features), np.log(np.finfo(np.float64).tiny))
    return np.asarray(log_p[:, 1] - log_p[:, 0])
