"""Differences of two models or attacks on the same samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate
from securitynet.metrics.vocabulary import AUC, tpr_at_fpr

Scores = NDArray[np.float64]
RESAMPLES = 1000
CHUNK = 2_000_000  # scores drawn at a time


def auc_difference(first: tuple[Scores, Scores], second: tuple[Scores, Scores]) -> tuple[Estimate, float | None]:
    """Return AUC(first) - AUC(second) with its interval, and the two-sided p, by DeLong, DeLong & Clarke-Pearson (1988).

    Each is (members [n], non-members [m]); sample i is the same image in both. Where the difference has no variance, as of
    two equal attacks, the interval is the difference itself and p is None.
    """
    placed = [_placements(*one) for one in (first, second)]
    inside, outside = placed[0][0] - placed[1][0], placed[0][1] - placed[1][1]
    n, m = len(inside), len(outside)
    if min(n, m) < 2:
        return Estimate(AUC, None, n + m, reason="needs two members and two non-members"), None
    value = float(inside.mean())
    error = math.sqrt(inside.var(ddof=1) / n + outside.var(ddof=1) / m)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    p = float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else None
    return Estimate(AUC, value, n + m, value - half, value + half, "DeLong, paired"), p


def _placements(members: Scores, non_members: Scores) -> tuple[Scores, Scores]:
    """Return the share of non-members below each member, and of members above each non-member; ties count one half."""
    together = stats.rankdata(np.concatenate([members, non_members]))
    n, m = len(members), len(non_members)
    return (together[:n] - stats.rankdata(members)) / m, 1 - (together[n:] - stats.rankdata(non_members)) / n


def tpr_difference(first: tuple[Scores, Scores], second: tuple[Scores, Scores], fpr: float, seed: int = 0) -> Estimate:
    """Return the difference of true-positive rates at false-positive rate `fpr`, with a paired percentile-bootstrap interval.

    The same members and non-members are drawn for both, and the thresholds found again. None where fewer than 1/fpr non-members
    cannot show such a rate.
    """
    n, m = len(first[0]), len(first[1])
    allowed = math.floor(fpr * m + 1e-9)
    name = tpr_at_fpr(fpr)
    if allowed < 1 or not n:
        return Estimate(name, None, n + m, reason=f"a false-positive rate of {fpr:g} needs at least {math.ceil(1 / fpr)} non-members")
    value = float(_rates(*first, allowed)[0] - _rates(*second, allowed)[0])
    rng, drawn, step = np.random.default_rng(seed), [], max(1, CHUNK // (n + m))
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        inside, outside = rng.integers(n, size=(size, n)), rng.integers(m, size=(size, m))
        drawn.append(_rates(first[0][inside], first[1][outside], allowed) - _rates(second[0][inside], second[1][outside], allowed))
    low, high = np.quantile(np.concatenate(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(name, value, n + m, float(low), float(high), "bootstrap, paired")


def _rates(members: Scores, non_members: Scores, allowed: int) -> Scores:
    """Return, per line of members [r, n] and non-members [r, m], the share of members above all but `allowed` non-members."""
    members, non_members = np.atleast_2d(members), np.atleast_2d(non_members)
    place = non_members.shape[1] - 1 - allowed
    thresholds = np.partition(non_members, place, axis=1)[:, place] if place >= 0 else np.full(len(members), -np.inf)
    return (members > thresholds[:, None]).mean(axis=1)


def rate_difference(metric: str, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[Estimate, float | None]:
    """Return mean(first) - mean(second) of the same samples with Wald's paired interval, and McNemar's exact p."""
    n = len(first)
    if not n:
        return Estimate(metric, None, 0, reason="no samples"), None
    only, other = int((first & ~second).sum()), int((second & ~first).sum())
    value = (only - other) / n
    error = math.sqrt(max(only + other - (only - other) ** 2 / n, 0.0)) / n
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    p = float(stats.binomtest(only, only + other).pvalue) if only + other else None
    return Estimate(metric, value, n, value - half, value + half, "McNemar, paired"), p


def interval_difference(metric: str, first: Estimate, second: Estimate) -> Estimate:
    """Return first - second of independent samples from their own intervals (Zou & Donner 2008, MOVER); no interval without both."""
    if first.value is None or second.value is None:
        return Estimate(metric, None, 0, reason="one of both has no number")
    value, n = first.value - second.value, first.n + second.n
    if first.ci_low is None or first.ci_high is None or second.ci_low is None or second.ci_high is None:
        return Estimate(metric, value, n)
    low = value - math.hypot(first.value - first.ci_low, second.ci_high - second.value)
    high = value + math.hypot(first.ci_high - first.value, second.value - second.ci_low)
    return Estimate(metric, value, n, low, high, "from both intervals")
