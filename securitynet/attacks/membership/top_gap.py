"""Log-odds between the largest probability and the k-th largest: how sure the model is of its own prediction. It needs no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.membership import MembershipEvidence, from_score
from securitynet.errors import Skipped
from securitynet.target import Outputs, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True)
class TopGap:
    """log p_(1) - log p_(k) of the sorted probabilities."""

    k: int = 2

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the scores of members and non-members."""
        if not 2 <= self.k <= target.num_classes:
            raise Skipped(f"k = {self.k} needs a model with at least {max(2, self.k)} classes, this one has {target.num_classes}")
        return from_score(self._gap, target, splits, accelerator)

    def _gap(self, outputs: Outputs) -> np.ndarray:
        gaps = np.empty(len(outputs.labels))
        for rows, piece in outputs.pieces():
            largest = np.partition(piece.logits, -self.k, axis=1)[:, -self.k :].astype(np.float64)
            gaps[rows] = largest.max(axis=1) - largest[:, 0]
        return gaps
