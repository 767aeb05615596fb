"""Placements: how many samples of the other group each score beats, from which the AUC and its variance come (DeLong et al. 1988)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Counts = NDArray[np.int64]
HALF = 0.5  # of a sample, added below and above all others of each group


class Wins(NamedTuple):
    """Non-members below each member [n], members above each non-member [m]; ties count one half."""

    members: Scores
    non_members: Scores


def wins(members: Scores, non_members: Scores) -> Wins:
    """Return how often each sample is on the right side of the other group, by midranks (Sun & Xu 2014), O(n log n)."""
    from scipy.stats import rankdata

    n = len(members)
    together = rankdata(np.concatenate([members, non_members]))
    return Wins(together[:n] - rankdata(members), n - (together[n:] - rankdata(non_members)))


def shrunken(sums: Scores, squares: Scores, n: Counts, others: Counts) -> tuple[Scores, Scores]:
    """Return the mean placement [groups] and the variance of that mean, after half a sample was added at each end of both groups.

    `sums` and `squares` are those of the wins of `n` samples against `others`. The addition is Agresti & Caffo's (2000), for
    scores instead of two outcomes: a variance of zero, which some samples have, does not mean that the truth is known.
    """
    size, against = n + 1.0, others + 1.0
    total = sums + HALF * n + HALF * (others + 2 * HALF)  # the ends beat others + 3/4 and 1/4, each counts half
    ends = HALF * ((others + 0.75) ** 2 + 0.25**2)
    mean = total / size / against
    spread = (squares + sums + n * HALF**2 + ends) / against**2 - size * mean**2
    return mean, np.maximum(spread, 0.0) / n / size


def centre_and_variance(won: Wins) -> tuple[float, float]:
    """Return the centre of the AUC's interval, and the variance of the AUC, of two samples or more in each group."""
    sizes = np.asarray([len(side) for side in won])
    sums, squares = np.asarray([side.sum() for side in won]), np.asarray([(side**2).sum() for side in won])
    centres, variances = shrunken(sums, squares, sizes, sizes[::-1])
    return float(centres[0]), float(variances.sum())
