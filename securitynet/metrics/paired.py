"""Differences of two models or attacks on the same samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate
from securitynet.metrics.operating import lower_limit, rank, surely_laxer, surely_stricter, tpr_at_fpr, upper_limit
from securitynet.metrics.placements import Scores, wins
from securitynet.metrics.vocabulary import AUC

FEWEST_ALARMS = 10  # above the threshold: with fewer, the ROC's slope cannot be measured
Z = float(stats.norm.ppf((1 + LEVEL) / 2))
Sides = tuple[Scores, Scores]


def auc_difference(first: Sides, second: Sides) -> tuple[Estimate, float | None]:
    """Return AUC(first) - AUC(second) with its interval, and the two-sided p, by DeLong, DeLong & Clarke-Pearson (1988).

    Each is (members [n], non-members [m]); sample i is the same image in both. To the variance, a quarter of a sample is added
    in each direction: two attacks that rank these samples alike may differ on others. Their p is None.
    """
    placed = [wins(*one) for one in (first, second)]
    n, m = len(first[0]), len(first[1])
    if min(n, m) < 2:
        return Estimate(AUC, None, n + m, reason="needs two members and two non-members"), None
    inside = (placed[0].members - placed[1].members) / m
    outside = (placed[0].non_members - placed[1].non_members) / n
    value, variance = float(inside.mean()), inside.var(ddof=1) / n + outside.var(ddof=1) / m
    half = Z * math.sqrt(variance + 0.5 / n**2 + 0.5 / m**2)
    p = float(2 * stats.norm.sf(abs(value) / math.sqrt(variance))) if variance > 0 else None
    return Estimate(AUC, value, n + m, max(-1.0, value - half), min(1.0, value + half), "DeLong, paired"), p


def tpr_difference(first: Sides, second: Sides, fpr: float) -> Estimate:
    """Return the difference of true-positive rates at false-positive rate `fpr` of two attacks on the same samples.

    Interval: normal, from the members on which both attacks differ and from both thresholds, whose share of the variance has as
    many degrees of freedom as non-members lie above (Satterthwaite 1946); where those are fewer than ten, an exact one from
    thresholds that are surely stricter or laxer. It covers 98 to 99 % where ten or fewer members lie above a threshold. None
    with the reason where one of both rates cannot be measured (operating.tpr_at_fpr).
    """
    rates = [tpr_at_fpr(*one, fpr) for one in (first, second)]
    n, m = len(first[0]), len(first[1])
    missing = next((one.reason for one in rates if one.value is None), None)
    if rates[0].value is None or rates[1].value is None:
        return Estimate(rates[0].metric, None, n + m, reason=missing)
    value = rates[0].value - rates[1].value
    if rank(m, fpr) < FEWEST_ALARMS:
        low, high = _bracket(first, second, fpr)
        return Estimate(rates[0].metric, value, n + m, low, high, "exact bracket, paired")
    inside, outside = _errors(first, second, fpr)
    freedom = rank(m, fpr) * ((inside + outside) / outside) ** 2 if outside else math.inf
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(inside + outside)
    return Estimate(rates[0].metric, value, n + m, max(-1.0, value - half), min(1.0, value + half), "normal, paired")


def _bracket(first: Sides, second: Sides, fpr: float) -> tuple[float, float]:
    """Each end: one attack's surely stricter threshold against the other's surely laxer one; then the paired exact limits.

    Each side spends (1 - level) / 2: a quarter on each of both thresholds and on each of both discordant shares.
    """
    m, miss = len(first[1]), (1 - LEVEL) / 8
    strict, lax = surely_stricter(m, fpr, miss), min(surely_laxer(m, fpr, miss), m)
    calls = [[one[0] > np.sort(one[1])[-k] if k else np.zeros(len(one[0]), bool) for k in (strict, lax)] for one in (first, second)]
    return _least(calls[0][0], calls[1][1], miss), -_least(calls[1][0], calls[0][1], miss)


def _least(one: NDArray[np.bool_], other: NDArray[np.bool_], miss: float) -> float:
    """Return a lower limit of the share in `one` alone less the share in `other` alone."""
    n = len(one)
    return lower_limit(int((one & ~other).sum()), n, miss) - upper_limit(int((other & ~one).sum()), n, miss)


def _errors(first: Sides, second: Sides, fpr: float) -> tuple[float, float]:
    """Return the variances of the difference of rates: of the members at fixed thresholds, and of both thresholds.

    A non-member moves each threshold by its share of alarms (Bahadur 1966) and so each rate by the ROC's slope; the same one
    moves both. Fewer than one member in one attack's hits alone counts as one.
    """
    n, m = len(first[0]), len(first[1])
    k = rank(m, fpr)
    levels = [float(np.partition(one[1], -k)[-k]) for one in (first, second)]
    calls, alarms = ([one[side] > level for one, level in zip((first, second), levels, strict=True)] for side in (0, 1))
    only, other = int((calls[0] & ~calls[1]).sum()), int((calls[1] & ~calls[0]).sum())
    moved = _slope(first, k) * alarms[0] - _slope(second, k) * alarms[1]
    return (max(only + other, 1) - (only - other) ** 2 / n) / n**2, float(moved.var(ddof=1)) / m


def _slope(scores: Sides, k: int) -> float:
    """Return the slope of the ROC at the `k`-th largest non-member, from a power law between half and twice as many alarms."""
    near, far = max(1, k // 2), min(len(scores[1]), 2 * k)
    levels = np.sort(scores[1])[::-1][[near - 1, k - 1, far - 1]]
    hits = (scores[0][:, None] > levels).sum(axis=0)
    power = math.log((hits[2] + 0.5) / (hits[0] + 0.5)) / math.log(far / near)
    return power * max(int(hits[1]), 0.5) / len(scores[0]) * len(scores[1]) / k


def rate_difference(metric: str, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[Estimate, float | None]:
    """Return mean(first) - mean(second) of the same samples with Agresti & Min's paired interval (2005), and McNemar's exact p."""
    n = len(first)
    if not n:
        return Estimate(metric, None, 0, reason="no samples"), None
    only, other = int((first & ~second).sum()), int((second & ~first).sum())
    size, centre = n + 2.0, (only - other) / (n + 2.0)  # half a sample is added to each of the four cells
    half = Z * math.sqrt(max(only + other + 1 - (only - other) ** 2 / size, 0.0)) / size
    p = float(stats.binomtest(only, only + other).pvalue) if only + other else None
    return Estimate(metric, (only - other) / n, n, max(-1.0, centre - half), min(1.0, centre + half), "Agresti-Min, paired"), p


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
