"""A range of near copies: was any image within reach of this one a training image? (RaMIA, Tao & Shokri, arXiv 2408.05131.)

The attacker does not hold the image that may have been trained on but a copy moved by some pixels. The score is the mean of the
log-odds over copies in a range around it, after the smallest (or the largest) share was dropped, as the authors' code trims; which images
make up the range is ours. Beside it stands the same attack on the copy alone (`radius` 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.membership import MembershipEvidence, Scores, ask, half
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership._perturbed import Shifted
from securitynet.errors import UsageError, unknown
from securitynet.target import Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits

SUITES = ()
ENDS = ("smallest", "largest")


@dataclass(frozen=True)
class NearCopies:
    """The copy is the image moved by `moved` pixels down and right; the range, all moves of the copy by up to `radius` pixels.

    A share `trim` of the range's scores, the `dropped` ones, is left out. (2 radius + 1)^2 queries per image.
    """

    moved: int = 1
    radius: int = 1
    trim: float = 0.5
    dropped: str = "smallest"

    def __post_init__(self) -> None:
        if self.dropped not in ENDS:
            raise unknown("end to drop", self.dropped, ENDS)
        if not 0 <= self.trim < 1 or self.radius < 0:
            raise UsageError(f"near_copies: trim lies in [0, 1) and radius is 0 or more, not {self.trim:g} and {self.radius}")

    @property
    def beside(self) -> tuple[NearCopies, ...]:
        """The copy alone."""
        return (NearCopies(self.moved, 0, 0.0, self.dropped),) if self.radius else ()

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the trimmed mean, in nats, of members and non-members."""
        ask(target, splits, accelerator)
        assert splits.members is not None and splits.non_members is not None
        parts = splits.members, splits.non_members
        members, non_members = (trimmed(self._range(target, part, accelerator), self.trim, self.dropped) for part in parts)
        known = half(len(members), splits.seed), half(len(non_members), splits.seed + 1)
        query_count = (len(members) + len(non_members)) * (2 * self.radius + 1) ** 2
        return MembershipEvidence(members, non_members, *known, seed=splits.seed, query_count=query_count)

    def _range(self, target: Target, part: Split, accelerator: Accelerator) -> Scores:
        """The log-odds [n, copies]; a move and one back lose the edge, as for who holds the copy only."""
        steps = range(-self.radius, self.radius + 1)
        copy = partial(Shifted, rows=self.moved, columns=self.moved)
        around = [partial(Shifted, rows=row, columns=column) for row in steps for column in steps]
        return np.stack([log_odds(query(target.wrap(move).wrap(copy), part, accelerator)) for move in around], axis=1)


def trimmed(scores: Scores, trim: float, dropped: str = ENDS[0]) -> Scores:
    """Return the mean [n] of scores [n, copies] without the `trim` share of the smallest (or largest) of each row, one left at least."""
    ordered = np.sort(scores, axis=1)
    out = min(int(trim * ordered.shape[1]), ordered.shape[1] - 1)
    kept = ordered[:, out:] if dropped == ENDS[0] else ordered[:, : ordered.shape[1] - out]
    return np.asarray(kept.mean(axis=1))
