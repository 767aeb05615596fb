"""Which share of a set of images was used, and whether any was, where nobody knows which ones: from rates, not from single images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate
from securitynet.metrics.vocabulary import SHARE_USED

Scores = NDArray[np.float64]
METHOD = "inverted test (Fieller)"
GRID = np.linspace(0.0, 1.0, 2001)
ADDED = 2  # successes and failures added to a count where its variance is estimated (Agresti & Coull 1998)
FEWEST = 4  # reference models whose spread says how far a rate carries over


class Rate(NamedTuple):
    """A rate at a threshold that was fixed beforehand: its estimate, and the variance of that with its degrees of freedom."""

    value: float
    variance: float
    freedom: float
    n: int


def counted(called: int, n: int) -> Rate:
    """Return the rate of `called` of `n` images of the model under test itself."""
    smooth = (called + ADDED) / (n + 2 * ADDED)
    return Rate(called / n, smooth * (1 - smooth) / n, math.inf, n)


def carried_over(rates: Sequence[float], n: int) -> Rate:
    """Return the rate that one more model has, from those of `rates` [k] models like it, each over about `n` images.

    The variance is that of a prediction: the spread between models, which holds that of `n` images, times 1 + 1 / k. Raises ValueError
    for a single model.
    """
    values = np.asarray(rates, np.float64)
    if len(values) < 2:
        raise ValueError("the spread between models needs two of them")
    smooth = (values.sum() * n + ADDED) / (n * len(values) + 2 * ADDED)
    variance = max(float(values.var(ddof=1)), smooth * (1 - smooth) / n) * (1 + 1 / len(values))
    return Rate(float(values.mean()), variance, len(values) - 1, n)


def share_used(called: int, n: int, tpr: Rate, fpr: Rate, level: float = LEVEL) -> Estimate:
    """Return the share of a set of `n` images that a model was trained on, `called` of which its attack calls members.

    (called / n - FPR) / (TPR - FPR), within [0, 1]: Rogan & Gladen (1978); Tong et al. (2025, "DUCI") use it for data sets. The
    interval holds all shares p that a test with the deviation of called / n - p TPR - (1 - p) FPR does not reject, so it includes
    that both rates are estimated. None where TPR does not lie above FPR with 97.5 % confidence: then every share gives the same.
    Raises ValueError for a set without images.
    """
    if not n:
        raise ValueError("a set without images has no share")
    found, gap = called / n, tpr.value - fpr.value
    apart = gap - _reach(np.array([tpr.variance]), np.array([fpr.variance]), tpr, fpr, level)[0]
    if apart <= 0:
        reason = f"not defined: the attack's true-positive rate ({tpr.value:.1%}) does not exceed its false-positive rate ({fpr.value:.1%})"
        return Estimate(SHARE_USED, None, n, 0.0, 1.0, METHOD, reason, scope="all")
    value = min(max((found - fpr.value) / gap, 0.0), 1.0)
    own = (GRID * _bernoulli(tpr) + (1 - GRID) * _bernoulli(fpr)) / n
    reach = _reach(GRID**2 * tpr.variance, (1 - GRID) ** 2 * fpr.variance + own, tpr, fpr, level)
    kept = GRID[np.abs(found - GRID * tpr.value - (1 - GRID) * fpr.value) <= reach]
    low, high = (float(kept.min()), float(kept.max())) if len(kept) else (value, value)
    step = float(GRID[1])
    return Estimate(SHARE_USED, value, n, max(min(low - step, value), 0.0), min(max(high + step, value), 1.0), METHOD, scope="all")


def _bernoulli(rate: Rate) -> float:
    smooth = (rate.value * rate.n + ADDED) / (rate.n + 2 * ADDED)
    return smooth * (1 - smooth)


def _reach(of_tpr: Scores, others: Scores, tpr: Rate, fpr: Rate, level: float) -> Scores:
    """How far a sum with these variances may lie from zero: Student's t with Satterthwaite's (1946) degrees of freedom."""
    total = of_tpr + others
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(of_tpr > 0, total**2 / (of_tpr**2 / tpr.freedom + others**2 / fpr.freedom), math.inf)
    quantile = np.where(np.isfinite(freedom), stats.t.ppf(0.5 + level / 2, np.minimum(freedom, 1e9)), stats.norm.ppf(0.5 + level / 2))
    return np.asarray(quantile * np.sqrt(total))


class Gap(NamedTuple):
    """How much higher a set scores than unseen images, in nats, its 95 % interval, and the one-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def welch(questioned: Scores, unseen: Scores, level: float = LEVEL) -> Gap:
    """Return Welch's test (1947) that scores of a set [n] are larger than those of unseen images [m], two of each at least."""
    found = stats.ttest_ind(questioned, unseen, equal_var=False, alternative="greater")
    ends = stats.ttest_ind(questioned, unseen, equal_var=False).confidence_interval(level)
    p = float(found.pvalue) if math.isfinite(found.pvalue) else 1.0
    value = float(questioned.mean() - unseen.mean())
    low, high = (float(end) if math.isfinite(end) else value for end in ends)
    return Gap(value, low, high, p)


def predicted(gap: float, others: Sequence[float], level: float = LEVEL) -> Gap:
    """Return the test that a model's `gap` is larger than those of `others` [k] like it that did not hold the images.

    (gap - mean) / (spread * sqrt(1 + 1 / k)) is Student's t with k - 1 degrees of freedom where the model is one of their kind: a
    set that is easier than the unseen images is so for all of them.
    """
    values = np.asarray(others, np.float64)
    spread = max(float(values.std(ddof=1)) * math.sqrt(1 + 1 / len(values)), 1e-12)
    more = gap - float(values.mean())
    reach = float(stats.t.ppf(0.5 + level / 2, len(values) - 1)) * spread
    return Gap(more, more - reach, more + reach, float(stats.t.sf(more / spread, len(values) - 1)))
