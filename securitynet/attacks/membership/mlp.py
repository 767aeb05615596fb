"""A small neural network on sorted posteriors (Salem et al. 2019), fitted on known members and non-members, scored on the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._learned import Features, fitted, sorted_posteriors
from securitynet.attacks.membership._networks import Networks, NetworkSettings, trained
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
    both groups weigh the same; training stops by the log-loss of a tenth of that half, kept aside; the probabilities are the
    mean over `fits` seeds. Skipped where that log-loss never falls below that of guessing.
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
        return fitted(self._features, self._fit, target, splits, accelerator)

    def _features(self, outputs: Outputs) -> Features:
        posteriors = sorted_posteriors(outputs, self.top)
        if not self.label:
            return posteriors
        of_label = np.exp(np.take_along_axis(outputs.log_probabilities, outputs.labels[:, None], axis=1))
        return np.hstack([posteriors, of_label, (outputs.predictions == outputs.labels)[:, None]])

    def _fit(self, features: Features, is_member: NDArray[np.int64], seed: int) -> Networks:
        centre, scale = features.mean(axis=0), features.std(axis=0)
        scale[scale == 0] = 1.0
        settings = NetworkSettings(self.hidden, self.learning_rate, self.epochs)
        standard = (features - centre) / scale
        return Networks(centre, scale, tuple(trained(standard, is_member, settings, 1000 * seed + fit) for fit in range(self.fits)))


VARIANTS = (Mlp(), Mlp(top=3), Mlp(label=True))
