"""Label-only, by augmentation: members stay right when moved or mirrored (Choquette-Choo et al. 2021, section 4.1).

The paper fits a classifier on the vector of predictions; here the score is the share of right ones, which needs no fitting.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._label_only import share_right
from securitynet.attacks.membership._perturbed import Shifted
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Augmentation:
    """Copies moved by 1 to `shift` pixels along four directions, and, with `flip`, the mirrored image: 4 * shift (+ 1) queries more."""

    shift: int = 2
    flip: bool = False

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the share of right predictions of members and non-members."""
        moves = [(by * rows, by * columns) for by in range(1, self.shift + 1) for rows, columns in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        changes = [partial(Shifted, rows=rows, columns=columns) for rows, columns in moves]
        if self.flip:
            changes.append(partial(Shifted, flip=True))
        return share_right(changes, target, splits, accelerator)
