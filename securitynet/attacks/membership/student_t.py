"""Posterior-predictive Student-t ratio of the log-odds: LiRA for few reference models.

Per sample and side, mean and variance have a normal-inverse-gamma prior, as the abstract of BaVarIA (arXiv 2603.11799) says of
that attack. Its priors and hyper-parameters were not available; hence the name says what is computed. With `across` false the
prior's mean is the pooled one, which is the nearest to the abstract and serves any number of references, one included. By default
it is what the sample's other side predicts, which uses that a sample which is hard to models without it is harder to models with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._calibrated import student_t_offline, student_t_online
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership._reference_statistics import Bench, Models, settings_of
from securitynet.errors import UsageError
from securitynet.references.public import Public
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class StudentT:
    """`weight` (kappa_0) and `shape` (alpha_0 > 1): how many observations the prior's mean and variance are worth."""

    references: Models = 16
    online: bool = True
    weight: float = 1.0
    shape: float = 4.0
    across: bool = True

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the log ratio (online) or the log-odds of P(T <= phi) (offline) of members and non-members."""
        if self.weight <= 0 or self.shape <= 1:
            raise UsageError(f"student_t: weight must be above 0 and shape above 1, not {self.weight:g} and {self.shape:g}")
        both = self.online and (self.across or isinstance(self.references, Public))
        bench = Bench(settings_of(self.references, both), target, splits, accelerator)
        found = bench.compare(log_odds)
        arrays = found.target, found.references, found.held
        if self.online:
            return bench.evidence(student_t_online(*arrays, self.weight, self.shape, self.across))
        return bench.evidence(student_t_offline(*arrays, self.weight, self.shape))


VARIANTS = (StudentT(), StudentT(online=False, weight=0.1))  # offline there is no other side, and the pooled mean says little
