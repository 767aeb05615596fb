"""Attack R: the share of reference models with a larger loss on the sample (Ye et al. 2022, arXiv 2111.09679)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._calibrated import attack_r
from securitynet.attacks.membership._formulas import log_likelihood
from securitynet.attacks.membership._reference_statistics import Bench, Models, settings_of
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class AttackR:
    """A p-value per sample, from the models without it: with k of them the score has k + 1 values, so it needs many."""

    references: Models = 16

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the share, in [0,1], of members and non-members."""
        bench = Bench(settings_of(self.references, online=False), target, splits, accelerator)
        found = bench.compare(log_likelihood)
        return bench.evidence(attack_r(found.target, found.references, found.held))
