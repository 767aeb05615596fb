"""Metrics of membership inference from the scores of members and of non-members; larger means member."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate, difference
from securitynet.metrics.operating import threshold_at as threshold_at  # said twice: others take it from here
from securitynet.metrics.operating import tpr_at_fpr as tpr_at_fpr
from securitynet.metrics.placements import Counts, Scores, centre_and_variance, shrunken, wins
from securitynet.metrics.vocabulary import ADVANTAGE, AUC, BALANCED_ACCURACY, RATES

FALSE_POSITIVE_RATES = RATES


def auc(members: Scores, non_members: Scores) -> Estimate:
    """Return the area under the ROC curve (ties count one half) with DeLong's interval (1988), adjusted.

    Before the interval, half a sample is added at each end of both groups (placements.shrunken), so that it covers at ten
    samples, near 1, and where all scores tie; of a thousand samples it is DeLong's to the third digit.
    """
    n_in, n_out = len(members), len(non_members)
    if min(n_in, n_out) < 2:
        return Estimate(AUC, None, n_in + n_out, reason="needs two members and two non-members")
    won = wins(members, non_members)
    centre, variance = centre_and_variance(won)
    value, reach = float(won.members.mean() / n_out), float(stats.norm.ppf(0.5 + LEVEL / 2)) * math.sqrt(variance)
    low, high = min(value, centre - reach), max(value, centre + reach)
    return Estimate(AUC, value, n_in + n_out, max(0.0, low), min(1.0, high), "DeLong")


def _adjusted(sums: Scores, squares: Scores, sizes: Counts) -> tuple[Scores, Scores, Scores]:
    """Return AUC and interval, [groups] each, from the sums and the sums of squares of both sides' wins, and their sizes, [2, groups]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = sums[0] / sizes[0] / sizes[1]
        centre, variance = shrunken(sums[0], squares[0], sizes[0], sizes[1])
        variance = variance + shrunken(sums[1], squares[1], sizes[1], sizes[0])[1]
    reach = stats.norm.ppf(0.5 + LEVEL / 2) * np.sqrt(variance)
    low, high = np.minimum(value, centre - reach), np.maximum(value, centre + reach)
    return value, np.maximum(0.0, low), np.minimum(1.0, high)


def best_threshold(members: Scores, non_members: Scores) -> float:
    """Return the score t for which `score >= t` has the best balanced accuracy (the largest such t; inf: call nobody a member)."""
    candidates = np.unique(np.concatenate([members, non_members]))
    hits = len(members) - np.searchsorted(np.sort(members), candidates)
    alarms = len(non_members) - np.searchsorted(np.sort(non_members), candidates)
    gains = hits * len(non_members) - alarms * len(members)  # whole numbers, so that equal ones tie
    best = int(len(gains) - 1 - np.argmax(gains[::-1]))
    return float(candidates[best]) if gains[best] > 0 else math.inf


def balanced_accuracy(members: Scores, non_members: Scores, threshold: float) -> Estimate:
    """Return (TPR + TNR) / 2 of `score >= threshold`; the threshold comes from other samples than these.

    Interval: that of the difference TPR - FPR of two independent rates (Newcombe 1998, method 10), moved and halved.
    """
    hits, alarms = int((members >= threshold).sum()), int((non_members >= threshold).sum())
    gap = difference(ADVANTAGE, (hits, len(members)), (alarms, len(non_members)))
    if gap.value is None or gap.ci_low is None or gap.ci_high is None:
        return replace(gap, metric=BALANCED_ACCURACY)
    numbers = {"value": (1 + gap.value) / 2, "ci_low": (1 + gap.ci_low) / 2, "ci_high": (1 + gap.ci_high) / 2}
    return replace(gap, metric=BALANCED_ACCURACY, **numbers)  # type: ignore[arg-type]


def advantage(balanced: Estimate) -> Estimate:
    """Return TPR - FPR (Yeom et al. 2018), which is 2 * balanced accuracy - 1, at the same threshold."""
    if balanced.value is None or balanced.ci_low is None or balanced.ci_high is None:
        return Estimate(ADVANTAGE, None, balanced.n, reason=balanced.reason)
    return Estimate(ADVANTAGE, 2 * balanced.value - 1, balanced.n, 2 * balanced.ci_low - 1, 2 * balanced.ci_high - 1, balanced.ci_method)


def roc(members: Scores, non_members: Scores) -> tuple[Scores, Scores, Scores]:
    """Return false-positive rates, true-positive rates and the thresholds t of `score >= t`, which fall; the first is inf.

    Every distinct score is a point (scikit-learn's roc_curve with nothing dropped), so no rate between two points can be had.
    """
    from sklearn.metrics import roc_curve

    labels = np.repeat([1, 0], [len(members), len(non_members)])
    fpr, tpr, thresholds = roc_curve(labels, np.concatenate([members, non_members]), drop_intermediate=False)
    return fpr, tpr, thresholds


def alarm_rate(scores: Scores, non_members: Scores) -> Scores:
    """Return the share of non-members that score at least as high as each of `scores` [n]: the false-positive rate that finds it."""
    return (len(non_members) - np.searchsorted(np.sort(non_members), scores, side="left")) / len(non_members)


@dataclass(frozen=True, eq=False)
class PerClass:
    """AUC of each class with its 95 % interval, float64 [classes], NaN where too few, and the counts behind it, int64 [classes]."""

    auc: Scores
    ci_low: Scores
    ci_high: Scores
    members: Counts
    non_members: Counts


def per_class_auc(members: Scores, non_members: Scores, member_labels: Counts, non_member_labels: Counts, classes: int) -> PerClass:
    """Return what auc() gives for the members and non-members of each class, all classes at once, O(n log n).

    NaN for classes with fewer than two members or two non-members. The intervals are of single classes: of a hundred
    classes without any leak, about five exclude 0.5. Raises ValueError for a label outside 0 .. classes - 1.
    """
    labels = np.concatenate([member_labels, non_member_labels])
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}, not from 0 to {classes - 1}")
    n_in, n_out = (np.bincount(part, minlength=classes) for part in (member_labels, non_member_labels))
    together = _midranks(np.concatenate([members, non_members]), labels)
    inside = together[: len(members)] - _midranks(members, member_labels)
    outside = n_in[non_member_labels] - (together[len(members) :] - _midranks(non_members, non_member_labels))
    both = (inside, member_labels), (outside, non_member_labels)
    sums = np.stack([np.bincount(group, won, classes).astype(np.float64) for won, group in both])
    squares = np.stack([np.bincount(group, won**2, classes).astype(np.float64) for won, group in both])
    few = np.minimum(n_in, n_out) < 2
    value, low, high = (np.where(few, np.nan, part) for part in _adjusted(sums, squares, np.stack([n_in, n_out])))
    return PerClass(value, low, high, n_in, n_out)


def _midranks(values: Scores, groups: Counts) -> Scores:
    """Return the rank of each value among those of its group, from 1; ties share their mean."""
    order = np.lexsort((values, groups))
    ordered, grouped = values[order], groups[order]
    fresh = np.append(True, (ordered[1:] != ordered[:-1]) | (grouped[1:] != grouped[:-1]))[: len(order)]
    starts = np.flatnonzero(fresh)
    middles = (starts + np.append(starts[1:], len(order)) + 1) / 2
    ranks = np.empty(len(order))
    ranks[order] = middles[np.cumsum(fresh) - 1] - np.searchsorted(grouped, grouped)
    return ranks
