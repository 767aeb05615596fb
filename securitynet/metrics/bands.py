"""A band that holds the whole ROC curve at once: both groups' order statistics in simultaneous Beta bounds.

Bounds of equal local level (Berk & Jones 1979; Gontscharuk, Landwehr & Finner 2016): every order statistic has the same chance
to leave its own Beta interval, small enough that none does with probability 97.5 %. So the band stays narrow at low
false-positive rates, where the one of Kolmogorov and Smirnov says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Scores = NDArray[np.float64]
SIZES = (2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 100_000, 10_000_000)
# The local level of a simultaneous one of 2.5 %, simulated with 500 to 40,000 uniform samples of each size; rounded down.
LEVELS = (
    0.0126, 0.0056, 0.0033, 0.0021, 0.00127, 0.00098, 0.00076, 0.00049, 0.00041, 0.00036, 0.0003, 0.00028, 0.00022, 0.00018, 0.0001,
)  # fmt: skip


def local_level(n: int) -> float:
    """Return the two-sided level at which each of `n` order statistics is bounded, so that all hold with probability 97.5 %."""
    return float(np.exp(np.interp(np.log(max(n, 2)), np.log(SIZES), np.log(LEVELS))))


def order_bounds(n: int) -> tuple[Scores, Scores]:
    """Return bounds [n + 2] of the probability above the k-th largest of `n`, k = 0 .. n + 1, all at once: 0 for k = 0, 1 for n + 1."""
    k, tail = np.arange(1, n + 1), local_level(n) / 2
    low, high = stats.beta.ppf(tail, k, n - k + 1), stats.beta.isf(tail, k, n - k + 1)
    return np.concatenate([[0.0], low, [1.0]]), np.concatenate([[0.0], high, [1.0]])


def roc_band(members: Scores, non_members: Scores, rates: Scores) -> tuple[Scores, Scores]:
    """Return lower and upper ends [r] of the true-positive rates at all false-positive `rates` [r], together 95 %.

    Both groups need a sample. Holds at every sample size, ties included.
    """
    down, above = np.sort(non_members)[::-1], np.sort(members)
    false, true = order_bounds(len(non_members)), order_bounds(len(members))
    hits = len(members) - np.searchsorted(above, down, side="right")  # members strictly above each non-member
    strict = np.searchsorted(false[1][1:-1], rates, side="right")  # so many order statistics are surely at or below each rate
    lax = np.searchsorted(false[0][1:-1], rates, side="right") + 1  # the first that surely is above
    low = np.where(strict > 0, true[0][hits[np.maximum(strict, 1) - 1]], 0.0)
    high = np.where(lax <= len(down), true[1][hits[np.minimum(lax, len(down)) - 1] + 1], 1.0)
    return low, high
