"""Log-odds of the label, log p_y - log sum of the other p: the statistic of LiRA (Carlini et al. 2022) without its references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence, from_score
from securitynet.attacks.membership._formulas import log_odds
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class Margin:
    """Log-odds of the label, log p_y - log sum of the other p."""

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the scores of members and non-members."""
        return from_score(log_odds, target, splits, accelerator)
