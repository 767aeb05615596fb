"""The tail of the loss, without reference models: how many non-members a loss threshold rejects that keeps nearly all members.

After the idea of "The Tail Tells All" (arXiv 2510.19773), whose abstract says that the true-negative rate of a plain loss
attack predicts how well the strongest attacks do at low false-positive rates; its exact quantile is not known here, so
several are given, and the attack is named for what it computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from securitynet.attacks.membership import MembershipEvidence, from_score
from securitynet.attacks.membership._formulas import log_likelihood
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.operating import fewest, tpr_at_fpr
from securitynet.metrics.vocabulary import tnr_at_fnr
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")
FALSE_NEGATIVE_RATES = (0.1, 0.01, 0.001)


@dataclass(frozen=True, eq=False)
class TailEvidence:
    """The loss attack's scores, reduced to true-negative rates at small false-negative rates."""

    family: ClassVar[str] = "membership"
    scores: MembershipEvidence

    @property
    def queries(self) -> int:
        """Images that the model was queried on."""
        return self.scores.queries

    def metrics(self) -> list[Estimate]:
        """Return the share of non-members below the threshold that loses at most 10, 1 and 0.1 % of the members."""
        return [self._at(fnr) for fnr in FALSE_NEGATIVE_RATES]

    def _at(self, fnr: float) -> Estimate:
        """A true-negative rate at a false-negative rate is a true-positive rate with the two groups exchanged and signs turned."""
        turned = tpr_at_fpr(-self.scores.non_members, -self.scores.members, fnr)
        few = f"a false-negative rate of {fnr:g} needs at least {fewest(fnr)} members, there are {len(self.scores.members)}"
        tied = "too many members share the smallest score: no threshold has this rate"
        reason = None if turned.value is not None else few if len(self.scores.members) < fewest(fnr) else tied
        return replace(turned, metric=tnr_at_fnr(fnr), reason=reason, scope="all")

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the scores."""
        return self.scores.arrays()


@dataclass(frozen=True)
class Tail:
    """True-negative rates of the loss attack where it keeps nearly all members."""

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> TailEvidence:
        """Return the scores of members and non-members."""
        return TailEvidence(from_score(log_likelihood, target, splits, accelerator))
