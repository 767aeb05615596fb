"""Lower bounds on epsilon from guesses about canaries, and what a point of a ROC would need; each says what it bounds.

A bound is about the training procedure, and only where inclusion was decided by fair coins (one run), or runs are independent
(many runs), with the score, the number of guesses and the threshold fixed before anything is looked at. Nothing here follows for
a model whose training set nobody randomised: allowed() only describes a point of its ROC.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.special import ndtr, ndtri

from securitynet.errors import UsageError
from securitynet.metrics.operating import upper_limit

LEVEL = 0.95
MOST = 50.0  # epsilon beyond which nobody asks
MOST_MU = 20.0


class Guesses(NamedTuple):
    """`right` of `made` guesses, in or out, about `canaries` of which each was included by a fair coin of its own."""

    right: int
    made: int
    canaries: int

    def checked(self) -> Guesses:
        """Return itself. Raises UsageError where the numbers contradict each other."""
        if not 0 <= self.right <= self.made <= self.canaries or not self.made:
            raise UsageError(f"{self.right} right of {self.made} guesses about {self.canaries} canaries: these numbers do not fit")
        return self


def delta_of(epsilon: float, mu: float) -> float:
    """Return the least delta for which a mu-Gaussian mechanism is (epsilon, delta)-DP (Dong, Roth & Su 2022, corollary 1)."""
    if mu <= 0:
        return 0.0
    return float(ndtr(-epsilon / mu + mu / 2) - math.exp(epsilon + stats.norm.logcdf(-epsilon / mu - mu / 2)))


def epsilon_of(mu: float, delta: float) -> float:
    """Return the least epsilon for which a mu-Gaussian mechanism is (epsilon, delta)-DP; infinite without a delta."""
    _check(delta)
    if mu <= 0 or delta_of(0.0, mu) <= delta:
        return 0.0
    if delta == 0:
        return math.inf
    most = 1.0
    while delta_of(most, mu) > delta:
        most *= 2
    return float(optimize.brentq(lambda one: delta_of(one, mu) - delta, 0.0, most, xtol=1e-9))


def one_run(found: Guesses, delta: float = 1e-5, level: float = LEVEL) -> float:
    """Return the epsilon that a training exceeds with confidence `level`, from guesses about one run of it; 0 where none is shown.

    Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846), theorem 5.2: under (epsilon, delta)-DP the number of right guesses is at
    most binomial with probability 1 / (1 + exp(-epsilon)), but for a term in delta. The bound is the largest epsilon whose
    p-value is below 1 - level.
    """
    _check(delta)
    return _one_run(found.checked(), delta, round(1 - level, 12))


@lru_cache(4096)
def _one_run(found: Guesses, delta: float, miss: float) -> float:
    if p_one_run(found, 0.0, delta) >= miss:
        return 0.0
    low, high = 0.0, 1.0
    while p_one_run(found, high, delta) < miss:
        low, high = high, high * 2
        if high > MOST:
            return MOST
    return float(optimize.brentq(lambda one: p_one_run(found, one, delta) - miss, low, high, xtol=1e-6))


def p_one_run(found: Guesses, epsilon: float, delta: float) -> float:
    """Return the p-value of (epsilon, delta)-DP: the chance that it allows of so many right guesses in one run."""
    right, made, canaries = found
    share = 1 / (1 + math.exp(-epsilon))
    chance = float(stats.binom.sf(right - 1, made, share))
    if delta and right:
        below = np.cumsum(stats.binom.pmf(np.arange(right - 1, -1, -1), made, share))  # P[right - i <= guesses < right], i = 1...
        chance += 2 * canaries * delta * float((below / np.arange(1, right + 1)).max())
    return min(chance, 1.0)


def one_run_gaussian(found: Guesses, level: float = LEVEL) -> float:
    """Return the mu that a training exceeds if it is a Gaussian mechanism, from one run of it; 0 where none is shown.

    Mahloujifar, Melis & Chaudhuri 2024 (arXiv 2410.22235), their recursion for guesses between two. That the training is
    mu-Gaussian-DP for some mu is an assumption: DP-SGD is close to it, others need not be.
    """
    return _one_run_gaussian(found.checked(), round(1 - level, 12))


@lru_cache(4096)
def _one_run_gaussian(found: Guesses, miss: float) -> float:
    if not _is_rejected(found, 0.0, miss):
        return 0.0
    low, high = 0.0, MOST_MU
    if _is_rejected(found, high, miss):
        return MOST_MU
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if _is_rejected(found, middle, miss) else (low, middle)
    return low


def _is_rejected(found: Guesses, mu: float, miss: float) -> bool:
    """Say whether so many right guesses are rarer than `miss` under every mu-Gaussian-DP training."""
    right, made, canaries = found
    inside, outside = miss * right / canaries, miss * (made - right) / canaries
    for i in range(right - 1, -1, -1):
        more = max(outside, float(ndtr(ndtri(inside) - mu)))
        inside, outside = inside + i / (made - i) * (more - outside), more
        if inside + outside > made / canaries:
            return True
    return False


class Errors(NamedTuple):
    """Of independent runs: `missed` of `with_canary` below a threshold, `alarms` of `without` above it."""

    missed: int
    with_canary: int
    alarms: int
    without: int

    def limits(self, level: float) -> tuple[float, float]:
        """Return upper limits of the false-positive and the false-negative rate, that hold together with confidence `level`."""
        miss = (1 - level) / 2
        return upper_limit(self.alarms, self.without, miss), upper_limit(self.missed, self.with_canary, miss)


def many_runs(found: Errors, delta: float = 1e-5, level: float = LEVEL) -> float:
    """Return the epsilon that a training exceeds with confidence `level`, from independent runs with and without one canary.

    From (epsilon, delta)-DP: FPR + exp(epsilon) FNR >= 1 - delta, and with both exchanged (Kairouz, Oh & Viswanath 2015), by the
    exact upper limits of both rates. The threshold must have been chosen on other runs.
    """
    _check(delta)
    fpr, fnr = found.limits(level)
    return max(_log_ratio(1 - delta - fpr, fnr), _log_ratio(1 - delta - fnr, fpr), 0.0)


def many_runs_gaussian(found: Errors, level: float = LEVEL) -> float:
    """Return the mu that a training exceeds if it is a Gaussian mechanism (Nasr et al. 2023, arXiv 2302.07956); 0 where none is shown."""
    fpr, fnr = found.limits(level)
    return max(float(ndtri(1 - fpr) - ndtri(fnr)), 0.0)


def allowed(tpr: float, fpr: float, delta: float = 0.0) -> float | None:
    """Return the least epsilon with which a training could allow the point (`fpr`, `tpr`) of a ROC; None where none could.

    A description of the point in the units of differential privacy, no bound on the training that was run.
    """
    _check(delta)
    needed = max(_log_ratio(tpr - delta, fpr), _log_ratio(1 - fpr - delta, 1 - tpr), 0.0)
    return needed if math.isfinite(needed) else None


def _log_ratio(upper: float, lower: float) -> float:
    if upper <= 0:
        return -math.inf
    return math.log(upper / lower) if lower > 0 else math.inf


def _check(delta: float) -> None:
    if not 0 <= delta < 1:
        raise UsageError(f"delta must be at least 0 and below 1, not {delta:g}")
