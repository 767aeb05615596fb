"""Probability of the label, p_y (Salem et al. 2019; Song & Mittal 2021). Near 1 float64 has ties; `margin` has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.membership import MembershipEvidence, from_score
from securitynet.attacks.membership._formulas import log_likelihood
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class Confidence:
    """Probability of the label, p_y."""

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the scores of members and non-members."""
        return from_score(lambda outputs: np.exp(log_likelihood(outputs)), target, splits, accelerator)
