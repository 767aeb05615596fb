"""Metrics of membership inference from the scores of members and of non-members; larger means member."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate, rate
from securitynet.metrics.vocabulary import ADVANTAGE, AUC, BALANCED_ACCURACY, RATES
from securitynet.metrics.vocabulary import tpr_at_fpr as rate_name

Scores = NDArray[np.float64]
Counts = NDArray[np.int64]
FALSE_POSITIVE_RATES = RATES
RESAMPLES = 2000


def auc(members: Scores, non_members: Scores) -> Estimate:
    """Return the area under the ROC curve (ties count one half) with DeLong's interval.

    The variance is DeLong's (1988) by midranks (Sun & Xu 2014), O(n log n). Perfect separation has no variance to
    estimate: there the interval is the exact binomial one of the smaller group.
    """
    n_in, n_out = len(members), len(non_members)
    if min(n_in, n_out) < 2:
        return Estimate(AUC, None, n_in + n_out, reason="needs two members and two non-members")
    together = stats.rankdata(np.concatenate([members, non_members]))
    in_share = (together[:n_in] - stats.rankdata(members)) / n_out
    out_share = 1 - (together[n_in:] - stats.rankdata(non_members)) / n_in
    value = float(in_share.mean())
    if value in (0.0, 1.0):
        bound = ((1 - LEVEL) / 2) ** (1 / min(n_in, n_out))
        low, high = (bound, 1.0) if value else (0.0, 1 - bound)
        return Estimate(AUC, value, n_in + n_out, low, high, "Clopper-Pearson")
    spread = math.sqrt(in_share.var(ddof=1) / n_in + out_share.var(ddof=1) / n_out)
    reach = float(stats.norm.ppf(0.5 + LEVEL / 2)) * spread
    return Estimate(AUC, value, n_in + n_out, max(0.0, value - reach), min(1.0, value + reach), "DeLong")


def tpr_at_fpr(members: Scores, non_members: Scores, fpr: float) -> Estimate:
    """Return the largest true-positive rate over thresholds whose false-positive rate is at most `fpr`.

    The interval is the exact binomial one given that threshold. None where fewer than 1/fpr non-members cannot show such a rate.
    """
    name, n = rate_name(fpr), len(members) + len(non_members)
    threshold = threshold_at(non_members, fpr)
    if threshold is None:
        reason = f"a false-positive rate of {fpr:g} needs at least {math.ceil(1 / fpr)} non-members, there are {len(non_members)}"
        return Estimate(name, None, n, reason=reason)
    return rate(name, int((members > threshold).sum()), len(members))


def threshold_at(non_members: Scores, fpr: float) -> float | None:
    """Return the score that at most a share `fpr` of the non-members exceeds, the lowest such; None where fewer than 1/fpr are there."""
    allowed = math.floor(fpr * len(non_members) + 1e-9)
    if allowed < 1:
        return None
    return float(np.sort(non_members)[::-1][allowed]) if allowed < len(non_members) else -math.inf


def best_threshold(members: Scores, non_members: Scores) -> float:
    """Return the score t for which `score >= t` has the best balanced accuracy (the largest such t; inf: call nobody a member)."""
    candidates = np.unique(np.concatenate([members, non_members]))
    hits = len(members) - np.searchsorted(np.sort(members), candidates)
    alarms = len(non_members) - np.searchsorted(np.sort(non_members), candidates)
    gains = hits * len(non_members) - alarms * len(members)  # whole numbers, so that equal ones tie
    best = int(len(gains) - 1 - np.argmax(gains[::-1]))
    return float(candidates[best]) if gains[best] > 0 else math.inf


def balanced_accuracy(members: Scores, non_members: Scores, threshold: float, seed: int = 0) -> Estimate:
    """Return (TPR + TNR) / 2 of `score >= threshold`; the threshold comes from other samples than these.

    Interval: percentile bootstrap over samples, which for two rates is drawing both from their binomials.
    """
    n_in, n_out = len(members), len(non_members)
    if not n_in or not n_out:
        return Estimate(BALANCED_ACCURACY, None, n_in + n_out, reason="no samples")
    hits, rejections = int((members >= threshold).sum()), int((non_members < threshold).sum())
    rng = np.random.default_rng(seed)
    drawn = (rng.binomial(n_in, hits / n_in, RESAMPLES) / n_in + rng.binomial(n_out, rejections / n_out, RESAMPLES) / n_out) / 2
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(BALANCED_ACCURACY, (hits / n_in + rejections / n_out) / 2, n_in + n_out, float(low), float(high), "bootstrap")


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
    own = _midranks(members, member_labels), _midranks(non_members, non_member_labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        in_share = (together[: len(members)] - own[0]) / n_out[member_labels]
        out_share = 1 - (together[len(members) :] - own[1]) / n_in[non_member_labels]
        value, in_variance = _moments(in_share, member_labels, n_in)
        spread = np.sqrt(in_variance + _moments(out_share, non_member_labels, n_out)[1])
        bound = ((1 - LEVEL) / 2) ** (1 / np.minimum(n_in, n_out))
    reach = stats.norm.ppf(0.5 + LEVEL / 2) * spread
    low = np.select([value == 0, value == 1], [0.0, bound], np.maximum(0, value - reach))
    high = np.select([value == 0, value == 1], [1 - bound, 1.0], np.minimum(1, value + reach))
    few = np.minimum(n_in, n_out) < 2
    value, low, high = (np.where(few, np.nan, part) for part in (value, low, high))
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


def _moments(values: Scores, groups: Counts, counts: Counts) -> tuple[Scores, Scores]:
    """Return the mean of each group and the variance of that mean, both [groups]."""
    mean = np.bincount(groups, values, len(counts)) / counts
    squares = np.bincount(groups, (values - mean[groups]) ** 2, len(counts))
    return mean, squares / (counts - 1) / counts
