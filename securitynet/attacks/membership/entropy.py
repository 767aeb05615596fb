"""Negative entropy of the output, sum of p log p (Shokri et al. 2017; Song & Mittal 2021). It needs no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence, from_score
from securitynet.attacks.membership._formulas import negative_entropy
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class Entropy:
    """Negative entropy of the output, sum of p log p."""

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the scores of members and non-members."""
        return from_score(negative_entropy, target, splits, accelerator)
