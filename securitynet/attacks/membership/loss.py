"""Log-likelihood of the label, log p_y: the loss-threshold attack (Yeom et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence, from_score
from securitynet.attacks.membership.scores import log_likelihood
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class Loss:
    """Score by the negative cross-entropy. `held_out` measures it on the half on which learned attacks are measured."""

    held_out: bool = False

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the scores of members and non-members."""
        return from_score(log_likelihood, target, splits, accelerator, held_out=self.held_out)
