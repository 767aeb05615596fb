"""Estimate, and the confidence intervals of proportions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """One metric: its value (None with the reason), 95 % interval, and the number of samples behind it.

    `budget`, `scope`, `calibrated`, `complete`, `level`, `threat_model`, `norm` and `epsilon` are the columns of a row of that name,
    None where they do not apply.
    """

    metric: str
    value: float | None
    n: int
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str | None = None
    reason: str | None = None
    budget: int | None = None
    scope: str | None = None
    calibrated: bool | None = None
    complete: bool | None = None
    level: float | None = None
    threat_model: str | None = None
    norm: str | None = None
    epsilon: float | None = None

    @property
    def finite(self) -> bool:
        """Whether the value and the ends of its interval, where there are any, are finite numbers."""
        return all(number is None or math.isfinite(number) for number in (self.value, self.ci_low, self.ci_high))


def clopper_pearson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact binomial interval of `successes` out of `n` (Clopper & Pearson 1934); (0, 1) for n = 0."""
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, successes, n - successes + 1)) if successes > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
    return low, high


def rate(metric: str, successes: int, n: int) -> Estimate:
    """Return the share `successes / n` with its exact interval."""
    if n == 0:
        return Estimate(metric, None, 0, reason="no samples")
    low, high = clopper_pearson(successes, n)
    return Estimate(metric, successes / n, n, low, high, "Clopper-Pearson")


def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's score interval of `successes` out of `n`."""
    low, high = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(low), float(high)


def difference(metric: str, first: tuple[int, int], second: tuple[int, int]) -> Estimate:
    """Return rate(first) - rate(second) of two independent (successes, n), with Newcombe's hybrid score interval (1998, method 10)."""
    (a, m), (b, n) = first, second
    if not m or not n:
        return Estimate(metric, None, m + n, reason="no samples")
    p, q = a / m, b / n
    (p_low, p_high), (q_low, q_high) = wilson(a, m), wilson(b, n)
    low = (p - q) - ((p - p_low) ** 2 + (q_high - q) ** 2) ** 0.5
    high = (p - q) + ((p_high - p) ** 2 + (q - q_low) ** 2) ** 0.5
    return Estimate(metric, p - q, m + n, low, high, "Newcombe")
