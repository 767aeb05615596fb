"""Exact tests that two groups of samples fall into the same bins equally often: by shuffling who belongs to which group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
DRAWS = 9_999
CUTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)


def share_difference(first: Counts, second: Counts, seed: int = 0, draws: int = DRAWS) -> float:
    """Return the p-value of Pearson's chi-square that two groups, counted by bin [k], have the same shares.

    The chi-square's law is drawn from all tables with the same margins, so the level holds at every size (Monte Carlo: the p-value
    is (1 + draws at least as large) / (1 + draws), never 0).
    """
    total = first + second
    used = total > 0
    if used.sum() < 2 or not first.sum() or not second.sum():
        return 1.0
    drawn = _tables(total[used], int(first.sum()), seed, draws)
    expected = total[used] * first.sum() / total.sum()
    distance = ((np.vstack([first[used], drawn]) - expected) ** 2 / expected).sum(axis=1)
    return _p(distance)


def rank_difference(
    first: Sequence[NDArray[np.floating]], second: Sequence[NDArray[np.floating]], seed: int = 0, draws: int = DRAWS
) -> float:
    """Return the p-value that the scores of two groups have the same distribution; larger differences at any of 13 cuts count.

    `first` and `second` hold one array per stratum, whose scores share a scale; the groups are shuffled within strata. The
    statistic is the largest standardised difference, over cuts, of the shares below: a few samples far out count as well as a
    small difference of all.
    """
    below = spread = None
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if not len(one) or not len(other):
            continue
        together = np.concatenate([one, other])
        edges = np.unique(np.quantile(together, CUTS))
        bins = np.searchsorted(edges, together, side="left")
        total, own = (np.bincount(part, minlength=len(CUTS) + 1) for part in (bins, bins[: len(one)]))
        tables = np.vstack([own, _tables(total, len(one), seed + number, draws)])
        share = total.cumsum()[:-1] / len(together)
        error = share * (1 - share) * len(one) * len(other) / (len(together) - 1)
        shifted = tables.cumsum(axis=1)[:, :-1] - share * len(one)
        below, spread = (shifted, error) if below is None or spread is None else (below + shifted, spread + error)
    if below is None or spread is None or not (spread > 0).any():
        return 1.0
    return _p(np.abs(below[:, spread > 0] / np.sqrt(spread[spread > 0])).max(axis=1))


def _tables(total: Counts, size: int, seed: int, draws: int) -> Counts:
    return np.random.default_rng(seed).multivariate_hypergeometric(total, size, size=draws, method="marginals")


def _p(statistic: NDArray[np.floating]) -> float:
    """Return the p-value of the first statistic among all; equal ones, up to rounding, count as larger."""
    return float((statistic[1:] >= statistic[0] * (1 - 1e-9)).sum() + 1) / len(statistic)
