"""Active query selection: each budget extends the one before by what its copies make look most useful."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._pools import Positions
from securitynet.attacks.stealing._thief import Thief
from securitynet.target import Target

Choose = Callable[[Target, Positions, Positions, int], NDArray[np.int64]]


def grown(thief: Thief, budgets: tuple[int, ...], candidates: int, choose: Choose) -> StealingEvidence:
    """Return the evidence of query sets that grow round by round; the first is drawn at random.

    Every round ends at a budget, where a fresh copy is trained from scratch (as ActiveThief, Pal et al., AAAI 2020), so a
    round costs no training of its own. `choose(copy, candidates, asked, count)` returns rows of `candidates`, which are at
    most that many positions of the pool (0: all) that were not asked about, drawn at random.
    """
    sizes = thief.sizes(budgets)
    order = thief.pool.order(thief.seed)
    asked = order[: sizes[0]]
    copies = [thief.steal(asked)]
    for size in sizes[1:]:
        count = size - len(asked)
        left = order[~np.isin(order, asked)]
        offered = left[: max(candidates, count)] if candidates else left
        asked = np.concatenate([asked, offered[choose(copies[-1].surrogates[0], offered, asked, count)]])
        copies.append(thief.steal(asked))
    return thief.evidence(copies, asked)
