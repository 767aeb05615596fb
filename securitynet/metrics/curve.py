"""Numbers of a curve over budgets, and paired differences and ratios of means over the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.intervals import LEVEL, Estimate
from securitynet.metrics.means import bounded, over_models
from securitynet.metrics.vocabulary import queries_for

Values = NDArray[np.float64]
RESAMPLES = 2000
CHUNK = 4_000_000  # counts drawn at a time


def difference(metric: str, first: Values, second: Values) -> Estimate:
    """Return mean(first) - mean(second) of two shares, [n] or [models, n] each in [0,1], paired by sample (and seed).

    Where both have a row for each seed, see means.over_models; otherwise means.bounded, of the means over seeds.
    """
    if first.ndim == second.ndim == 2 and len(first) == len(second):
        return over_models(metric, first - second, -1.0, 1.0)
    one, other = (values.mean(axis=0) if values.ndim == 2 else values for values in (first, second))
    return bounded(metric, one - other, -1.0, 1.0)


def ratio(metric: str, first: Values, second: Values, seed: int = 0) -> Estimate:
    """Return mean(first) / mean(second) of two values per sample, [n] each, with the bootstrap over samples, drawn in pairs."""
    n = len(first)
    if n == 0 or not second.any():
        return Estimate(metric, None, n, reason="no samples" if n == 0 else "the mean below the line is zero")
    means = np.concatenate(list(_resampled(np.column_stack([first, second]), seed)))
    means = means[means[:, 1] > 0]
    return Estimate(metric, float(first.mean() / second.mean()), n, *_interval(means[:, 0] / means[:, 1]), "paired bootstrap")


def queries_needed(
    budgets: Sequence[int], right: Sequence[Values], reference: NDArray[np.bool_], shares: Sequence[float], seed: int = 0
) -> list[Estimate]:
    """Return for each share how many queries bring that part of the target's accuracy: `queries_for_<percent>`.

    `budgets` rise; `right` holds one [n] for each, the share of copies that are right on each sample; `reference` bool [n] is
    whether the target is. Between budgets accuracy is taken to be linear in the logarithm of the budget. Where the largest
    does not suffice the value is None; where the smallest does, it is that budget, and the reason says "or fewer". The
    interval is a bootstrap over samples; an end without a value is None.
    """
    columns = np.column_stack([*right, reference.astype(np.float64)])
    drawn = np.concatenate(list(_resampled(columns, seed))) if len(columns) else np.empty((0, len(columns.T)))
    found = []
    for part in shares:
        metric = queries_for(part)
        if not reference.any():
            found.append(Estimate(metric, None, len(reference), reason="the target is never right"))
            continue
        value = _crossing(budgets, columns.mean(axis=0), part)
        ends = np.quantile([_crossing(budgets, means, part) for means in drawn], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
        found.append(_estimate(metric, value, ends, budgets, len(reference)))
    return found


def _estimate(metric: str, value: float, ends: Values, budgets: Sequence[int], n: int) -> Estimate:
    low, high = (float(end) if np.isfinite(end) else None for end in ends)
    if not np.isfinite(value):
        return Estimate(metric, None, n, low, None, "bootstrap", f"not reached with {budgets[-1]} queries")
    return Estimate(metric, value, n, low, high, "bootstrap", "or fewer" if value == budgets[0] else None)


def _crossing(budgets: Sequence[int], means: Values, part: float) -> float:
    """The first budget at which the curve has reached `part` of the last mean; inf where it never does."""
    goal, curve = part * means[-1], means[:-1]
    reached = np.flatnonzero(curve >= goal)
    if not len(reached):
        return float("inf")
    first = int(reached[0])
    if first == 0:
        return float(budgets[0])
    low, high = np.log(budgets[first - 1]), np.log(budgets[first])
    return float(np.exp(low + (high - low) * (goal - curve[first - 1]) / (curve[first] - curve[first - 1])))


def _resampled(columns: Values, seed: int) -> Iterator[Values]:
    """Yield means [some, columns] over samples drawn with replacement, RESAMPLES in all."""
    n, rng = len(columns), np.random.default_rng(seed)
    step = max(1, CHUNK // n)
    for start in range(0, RESAMPLES, step):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(step, RESAMPLES - start))
        yield counts @ columns / n


def _interval(values: Values) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
