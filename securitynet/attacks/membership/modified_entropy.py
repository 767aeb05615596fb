"""Negative modified entropy (Song & Mittal 2021, equation 8), with one threshold for all classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence, from_score
from securitynet.attacks.membership._formulas import negative_modified_entropy
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class ModifiedEntropy:
    """Negative modified entropy. `held_out` measures it on the half on which fitted attacks are measured."""

    held_out: bool = False

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the scores of members and non-members."""
        return from_score(negative_modified_entropy, target, splits, accelerator, held_out=self.held_out)
