"""Posterior-predictive Student-t ratio of the log-odds: LiRA for few reference models.

Per sample and side, mean and variance have a normal-inverse-gamma prior centred on the pooled ones. It follows the abstract of
BaVarIA (arXiv 2603.11799), whose own hyper-parameters were not at hand; hence the name says what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership.calibrated import student_t
from securitynet.attacks.membership.compared import Bench, settings_of
from securitynet.attacks.membership.scores import log_odds
from securitynet.references import Settings
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class StudentT:
    """`weight` (kappa_0) and `shape` (alpha_0 > 1): how many observations the prior's mean and variance are worth."""

    references: int | Settings = 16
    online: bool = True
    weight: float = 1.0
    shape: float = 4.0

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the log ratio (online) or the log-odds of P(T <= phi) (offline) of members and non-members."""
        bench = Bench(settings_of(self.references, self.online), target, splits, accelerator)
        found = bench.compare(log_odds)
        return bench.evidence(student_t(found.target, found.references, found.held, self.online, self.weight, self.shape))


VARIANTS = (StudentT(), StudentT(online=False))
