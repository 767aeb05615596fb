"""How far single members stand out: p-values against non-members, q-values, and what luck alone gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
NEGLIGIBLE = 1e-9  # a chance


def p_values(scores: Scores, non_members: Scores) -> Scores:
    """Return (1 + non-members that score at least as high) / (1 + non-members), for each score [n].

    Where the score of a member that left no trace is distributed as a non-member's, this is a valid p-value at every size
    (conformal, Vovk et al. 2005). The smallest that m non-members can show is 1 / (m + 1).
    """
    ordered = np.sort(non_members)
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray((1.0 + at_least) / (1.0 + len(ordered)))


def q_values(p: Scores) -> Scores:
    """Return, for each p-value [n], the smallest false-discovery rate at which its image is named (Benjamini & Hochberg 1995).

    It holds for p-values that share their non-members (Bates et al. 2023).
    """
    if not len(p):
        return p
    order = np.argsort(p, kind="stable")
    raw = p[order] * len(p) / np.arange(1, len(p) + 1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return found


def expected_alone(members: int, non_members: int) -> float:
    """Return how many members score above every non-member where nothing leaks: n / (m + 1)."""
    return members / (non_members + 1)


def most_alone(sizes: Sequence[tuple[int, int]], level: float = 0.95) -> int:
    """Return how many members at most score above every non-member where nothing leaks, in that share of cases.

    `sizes` are the members and non-members of each group, [k, 2]; groups count as independent. Where nothing leaks every order of the
    scores is as likely, so at least a of n members lie above all m non-members with the chance of drawing members a times in a row.
    """
    chances = np.ones(1)
    for members, non_members in sizes:
        tail, most = [1.0], members + non_members
        while len(tail) <= members and tail[-1] > NEGLIGIBLE:
            drawn = len(tail) - 1
            tail.append(tail[-1] * (members - drawn) / (most - drawn))
        chances = np.convolve(chances, -np.diff([*tail, 0.0]))
    return int(np.searchsorted(np.cumsum(chances), level - NEGLIGIBLE))


def expected_below(members: int, non_members: int, level: float) -> float:
    """Return how many of `members` have a p-value at or below `level` where nothing leaks, on average (see p_values)."""
    return members * np.floor(level * (non_members + 1) + 1e-9) / (non_members + 1)


def alone(scores: Scores, non_members: Scores) -> int:
    """Return how many scores lie above every non-member's."""
    return int((scores > non_members.max()).sum()) if len(non_members) else len(scores)
