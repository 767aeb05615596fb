"""Modified entropy with one threshold per class (Song & Mittal 2021, section 4.2), set on the known half, measured on the other.

The score is the distance to the threshold of the sample's own class, so AUC compares samples across classes after calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from securitynet.attacks.membership import MembershipEvidence, ask, from_score
from securitynet.attacks.membership._formulas import negative_modified_entropy
from securitynet.attacks.membership.modified_entropy import ModifiedEntropy
from securitynet.metrics.membership import best_threshold
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")
FEWEST = 5


@dataclass(frozen=True)
class ModifiedEntropyPerClass:
    """Per-class thresholds; a class with fewer than five known members or non-members gets the threshold of all."""

    beside: ClassVar[tuple[ModifiedEntropy, ...]] = (ModifiedEntropy(held_out=True),)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the calibrated scores; the metrics are of the half that set no threshold."""
        plain = from_score(negative_modified_entropy, target, splits, accelerator, held_out=True)
        labels = [outputs.labels for outputs in ask(target, splits, accelerator)]
        other = replace(plain, known_members=~plain.known_members, known_non_members=~plain.known_non_members)
        fits = [self._thresholds(one, labels[0], labels[1], target.num_classes) for one in (plain, other)]
        scores = [(plain.members - fit[labels[0]], plain.non_members - fit[labels[1]]) for fit in fits]
        return replace(plain, members=scores[0][0], non_members=scores[0][1], swapped=scores[1])

    def _thresholds(self, evidence: MembershipEvidence, of_members: np.ndarray, of_others: np.ndarray, classes: int) -> np.ndarray:
        known, others = evidence.known_members, evidence.known_non_members
        everyone = _finite(evidence.members[known], evidence.non_members[others])
        found = np.full(classes, everyone)
        for label in range(classes):
            members = evidence.members[known & (of_members == label)]
            non_members = evidence.non_members[others & (of_others == label)]
            if min(len(members), len(non_members)) >= FEWEST:
                found[label] = _finite(members, non_members)
        return found


def _finite(members: np.ndarray, non_members: np.ndarray) -> float:
    """The best threshold; where calling nobody a member is best, the largest score, which calls nearly nobody one."""
    threshold = best_threshold(members, non_members)
    return threshold if np.isfinite(threshold) else float(max(members.max(), non_members.max()))
