"""True-positive rate at a fixed false-positive rate, with an interval that includes that the threshold is estimated.

The threshold is a score of a non-member, so its own false-positive rate is random: of the k-th largest of n it has the
distribution Beta(k, n - k + 1) (order statistics), and for scores with ties it is never larger. An interval that takes the
threshold as given covers 56 to 88 % where it claims 95 %.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate
from securitynet.metrics.vocabulary import tpr_at_fpr as rate_name

Scores = NDArray[np.float64]
METHOD = "exact bracket"
SLACK = 1e-9  # 0.1 * 10 is not above 1


def rank(non_members: int, fpr: float) -> int:
    """Return k = floor(fpr * (n + 1)): strictly above the k-th largest of n, the mean false-positive rate is at most `fpr`."""
    return min(math.floor(fpr * (non_members + 1) + SLACK), non_members)


def threshold_at(non_members: Scores, fpr: float) -> float | None:
    """Return the k-th largest score, k = rank(n, fpr): `score > threshold` has a mean false-positive rate of at most `fpr`.

    None where k is zero; minus infinity where all may be called members.
    """
    k = rank(len(non_members), fpr)
    if fpr >= 1:
        return -math.inf
    return float(np.partition(non_members, len(non_members) - k)[len(non_members) - k]) if k else None


def fewest(fpr: float, miss: float = 1 - LEVEL) -> int:
    """Return how many non-members a lower end at `fpr` needs, of an interval that misses with probability `miss`.

    With fewer, not even the largest score is surely, up to miss / 4, above the threshold: 42 at 10 %, 437 at 1 %, 4,380 at .1 %.
    """
    return math.ceil(math.log(miss / 4) / math.log1p(-fpr))


def tpr_at_fpr(members: Scores, non_members: Scores, fpr: float) -> Estimate:
    """Return the share of members strictly above the k-th largest non-member, k = rank(n, fpr), with its exact bracket.

    None with the reason where too few non-members give no lower end (see fewest; the upper one stands), and where so many
    non-members share the largest score of all that no threshold has this rate, except the one that calls nobody a member.
    """
    name, n, m = rate_name(fpr), len(members), len(non_members)
    if not n or not m:
        return Estimate(name, None, n + m, reason="no samples")
    tied = int((non_members == max(members.max(), non_members.max())).sum())
    if tied >= max(rank(m, fpr), 2):
        return Estimate(name, None, n + m, reason=f"{tied} of {m} non-members share the largest score: no threshold has this rate")
    low, high = bracket(members, non_members, fpr)
    if m < fewest(fpr):
        reason = f"a false-positive rate of {fpr:g} needs at least {fewest(fpr)} non-members, there are {m}"
        return Estimate(name, None, n, 0.0, high, METHOD, reason)
    threshold = threshold_at(non_members, fpr)
    assert threshold is not None  # fewest() is above 1 / fpr
    return Estimate(name, float((members > threshold).mean()), n, low, high, METHOD)


def bracket(members: Scores, non_members: Scores, fpr: float, level: float = LEVEL) -> tuple[float, float]:
    """Return an interval of the true-positive rate at `fpr` that holds at every sample size, ties included.

    Each side spends (1 - level) / 2: at most half of it on a threshold that is surely stricter (laxer) than the one sought,
    by binomial tails; what is left on the exact binomial limit (Clopper & Pearson 1934) of the members above it.
    """
    side, ordered = (1 - level) / 2, np.sort(non_members)[::-1]
    lax, high = surely_laxer(len(ordered), fpr, side / 2), 1.0
    if lax <= len(ordered):
        missed = float(stats.binom.sf(lax - 1, len(ordered), fpr))
        high = upper_limit(int((members > ordered[lax - 1]).sum()), len(members), side - missed)
    return lower_end(members, non_members, fpr, side), high


def lower_end(members: Scores, non_members: Scores, fpr: float, miss: float) -> float:
    """Return a lower limit of the true-positive rate at `fpr` that lies above it with probability at most `miss`."""
    strict = surely_stricter(len(non_members), fpr, miss / 2)
    if not strict:
        return 0.0
    missed = float(stats.binom.cdf(strict - 1, len(non_members), fpr))
    return lower_limit(int((members > np.sort(non_members)[-strict]).sum()), len(members), miss - missed)


def surely_stricter(n: int, fpr: float, miss: float) -> int:
    """Return the largest k whose k-th largest of n has a false-positive rate above `fpr` with probability at most `miss`; 0: none."""
    below = int(stats.binom.ppf(miss, n, fpr))  # the smallest count that is not surely exceeded
    return below + 1 if stats.binom.cdf(below, n, fpr) <= miss else below


def surely_laxer(n: int, fpr: float, miss: float) -> int:
    """Return the smallest k whose k-th largest has a false-positive rate below `fpr` with probability at most `miss`; n + 1: none."""
    return int(stats.binom.isf(miss, n, fpr)) + 1


def lower_limit(hits: int, n: int, miss: float) -> float:
    """Return the exact lower limit of a rate, one-sided (Clopper & Pearson 1934)."""
    return float(stats.beta.ppf(miss, hits, n - hits + 1)) if hits else 0.0


def upper_limit(hits: int, n: int, miss: float) -> float:
    """Return the exact upper limit of a rate, one-sided (Clopper & Pearson 1934)."""
    return float(stats.beta.isf(miss, hits + 1, n - hits)) if hits < n else 1.0
