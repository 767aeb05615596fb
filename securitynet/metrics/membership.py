"""Metrics of membership inference from the scores of members and of non-members; larger means member."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate, rate

Scores = NDArray[np.float64]
FALSE_POSITIVE_RATES = (0.1, 0.01, 0.001)
RESAMPLES = 2000


def auc(members: Scores, non_members: Scores) -> Estimate:
    """Return the area under the ROC curve (ties count one half) with DeLong's interval.

    The variance is DeLong's (1988) by midranks (Sun & Xu 2014), O(n log n). Perfect separation has no variance to
    estimate: there the interval is the exact binomial one of the smaller group.
    """
    n_in, n_out = len(members), len(non_members)
    if min(n_in, n_out) < 2:
        return Estimate("auc", None, n_in + n_out, reason="needs two members and two non-members")
    together = stats.rankdata(np.concatenate([members, non_members]))
    in_share = (together[:n_in] - stats.rankdata(members)) / n_out
    out_share = 1 - (together[n_in:] - stats.rankdata(non_members)) / n_in
    value = float(in_share.mean())
    if value in (0.0, 1.0):
        bound = ((1 - LEVEL) / 2) ** (1 / min(n_in, n_out))
        low, high = (bound, 1.0) if value else (0.0, 1 - bound)
        return Estimate("auc", value, n_in + n_out, low, high, "Clopper-Pearson")
    spread = math.sqrt(in_share.var(ddof=1) / n_in + out_share.var(ddof=1) / n_out)
    reach = float(stats.norm.ppf(0.5 + LEVEL / 2)) * spread
    return Estimate("auc", value, n_in + n_out, max(0.0, value - reach), min(1.0, value + reach), "DeLong")


def tpr_at_fpr(members: Scores, non_members: Scores, fpr: float) -> Estimate:
    """Return the largest true-positive rate over thresholds whose false-positive rate is at most `fpr`.

    The interval is the exact binomial one given that threshold. None where fewer than 1/fpr non-members cannot show such a rate.
    """
    name = f"tpr_at_fpr_{fpr:g}"
    allowed = math.floor(fpr * len(non_members) + 1e-9)
    if allowed < 1:
        reason = f"a false-positive rate of {fpr:g} needs at least {math.ceil(1 / fpr)} non-members, there are {len(non_members)}"
        return Estimate(name, None, len(members) + len(non_members), reason=reason)
    if allowed >= len(non_members):
        return rate(name, len(members), len(members))
    threshold = np.sort(non_members)[::-1][allowed]
    return rate(name, int((members > threshold).sum()), len(members))


def best_threshold(members: Scores, non_members: Scores) -> float:
    """Return the score t for which `score >= t` has the best balanced accuracy (the largest such t; inf: call nobody a member)."""
    candidates = np.unique(np.concatenate([members, non_members]))
    hits = 1 - np.searchsorted(np.sort(members), candidates) / len(members)
    alarms = 1 - np.searchsorted(np.sort(non_members), candidates) / len(non_members)
    gains = hits - alarms
    best = int(len(gains) - 1 - np.argmax(gains[::-1]))
    return float(candidates[best]) if gains[best] > 0 else math.inf


def balanced_accuracy(members: Scores, non_members: Scores, threshold: float, seed: int = 0) -> Estimate:
    """Return (TPR + TNR) / 2 of `score >= threshold`; the threshold comes from other samples than these.

    Interval: percentile bootstrap over samples, which for two rates is drawing both from their binomials.
    """
    n_in, n_out = len(members), len(non_members)
    if not n_in or not n_out:
        return Estimate("balanced_accuracy", None, n_in + n_out, reason="no samples")
    hits, rejections = int((members >= threshold).sum()), int((non_members < threshold).sum())
    rng = np.random.default_rng(seed)
    drawn = (rng.binomial(n_in, hits / n_in, RESAMPLES) / n_in + rng.binomial(n_out, rejections / n_out, RESAMPLES) / n_out) / 2
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate("balanced_accuracy", (hits / n_in + rejections / n_out) / 2, n_in + n_out, float(low), float(high), "bootstrap")


def advantage(balanced: Estimate) -> Estimate:
    """Return TPR - FPR (Yeom et al. 2018), which is 2 * balanced accuracy - 1, at the same threshold."""
    if balanced.value is None or balanced.ci_low is None or balanced.ci_high is None:
        return Estimate("advantage", None, balanced.n, reason=balanced.reason)
    return Estimate("advantage", 2 * balanced.value - 1, balanced.n, 2 * balanced.ci_low - 1, 2 * balanced.ci_high - 1, balanced.ci_method)
