"""LiRA: the likelihood ratio of the log-odds under models with and without the sample (Carlini et al. 2022, arXiv 2112.03570)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._calibrated import lira_offline, lira_online
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership._perturbed import Shifted
from securitynet.attacks.membership._reference_statistics import Bench, Change, Models, settings_of
from securitynet.errors import Skipped, UsageError
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Lira:
    """Online: both sides; offline: one-sided, against models without the sample.

    `references`: how many models, or ReferenceSettings with how they are made. `per_example`: each sample has its own standard
    deviation, worth it from about 64 models on, and else all share one. `queries` copies of each image are sent to the
    target and of the references, and the scores averaged: the image itself, its mirror image, then both moved by an eighth
    of the width along rows, columns and diagonals (at most 18, as in the paper).
    """

    references: Models = 16
    online: bool = True
    per_example: bool = False
    queries: int = 1

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the mean over queries of the log ratio (online), or of the log-odds of P(Z <= phi) (offline)."""
        settings = settings_of(self.references, self.online)
        if self.per_example and settings.count < 4:
            raise Skipped(f"a standard deviation per sample needs at least four reference models, not {settings.count}")
        bench = Bench(settings, target, splits, accelerator)
        score = lira_online if self.online else lira_offline
        total = np.zeros(1)
        for change in copies(self.queries, (target.entry.input_size or (3, 32, 32))[-1]):
            found = bench.compare(log_odds, change)
            total = total + score(found.target, found.references, found.held, self.per_example)
        return bench.evidence(total / self.queries, self.queries)


def copies(count: int, width: int) -> list[Change | None]:
    """Return the first `count` ways of showing an image of that width; None is the image as it is."""
    by = max(1, width // 8)
    moves = [(0, 0), (by, 0), (-by, 0), (0, by), (0, -by), (by, by), (by, -by), (-by, by), (-by, -by)]
    ways = [(*move, flip) for move in moves for flip in (False, True)]
    if not 1 <= count <= len(ways):
        raise UsageError(f"queries must be between 1 and {len(ways)}, not {count}")
    return [None, *(_shift(*way) for way in ways[1:count])]


def _shift(rows: int, columns: int, flip: bool) -> Change:
    return lambda module: Shifted(module, rows, columns, flip)


VARIANTS = (Lira(), Lira(online=False))
