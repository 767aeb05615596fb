"""1 if the model predicts the label, else 0: the gap attack (Yeom et al. 2018); its AUC is (1 + train accuracy - test accuracy) / 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence, from_score
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class Correctness:
    """1 if the model predicts the label, else 0."""

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the scores of members and non-members."""
        return from_score(lambda outputs: outputs.predictions == outputs.labels, target, splits, accelerator)
