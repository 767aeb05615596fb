"""Means over samples with intervals that cover: by the studentised bootstrap, and for values of a known range."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate

Values = NDArray[np.float64]
RESAMPLES = 2000
CHUNK = 4_000_000  # counts drawn at a time
HALF = 0.5  # of a sample, added at each end of a known range
SEEDS = 3  # trained networks from which on an interval includes their spread
FEWEST, SMALL = 20, 8  # effective number of squared deviations (and of few values, one in eight) below which the upper end fails


def over_seeds(metric: str, values: Values) -> Estimate:
    """Return the mean of one number per trained network [n], with Student's t interval (n - 1 degrees of freedom).

    It is a statement about the recipe: the mean over all seeds. For few seeds it rests on numbers that are about normal over seeds.
    None, with the reason, for a single one; equal numbers show no spread, so they have no ends.
    """
    n = len(values)
    if n < 2:
        return Estimate(metric, None, n, reason="an interval over seeds needs two of them")
    centre, spread = float(values.mean()), float(values.std(ddof=1))
    if not spread:
        return Estimate(metric, centre, n, reason="the number is the same for all seeds")
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * spread / math.sqrt(n)
    return Estimate(metric, centre, n, centre - reach, centre + reach, "Student's t over seeds")


def mean(metric: str, values: Values, seed: int = 0) -> Estimate:
    """Return the mean of one number per sample [n] with the studentised bootstrap (Efron & Tibshirani 1993, section 12.5).

    Skewed numbers, as divergences are, need it: the percentile bootstrap covers too rarely. Values that are all equal show no
    spread, which is no interval: its ends are None. Where few values decide the spread (a lognormal's logarithms spread by 1.5 and
    more) both ends together cover 90 to 93 %, for a larger value may not have been seen: the upper end is then None, with the reason.
    """
    n = len(values)
    if n == 0:
        return Estimate(metric, None, 0, reason="no samples")
    centre, spread = float(values.mean()), float(values.std())
    if n < 2 or spread <= 1e-12 * max(1.0, abs(centre)):
        return Estimate(metric, centre, n, reason="all samples have the same value: no interval" if n > 1 else "one sample")
    low, high = np.quantile(_studentised((values - centre) / spread, seed), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    counting = n / float((((values - centre) / spread) ** 4).mean())  # as many equal squared deviations would spread the variance so
    few = f"few of the {n:,} values decide the spread: no upper end" if counting < min(FEWEST, n / SMALL) else None
    top = None if few else centre - float(low) * spread
    return Estimate(metric, centre, n, centre - float(high) * spread, top, "bootstrap-t", few)


def _studentised(values: Values, seed: int) -> Values:
    """Return (mean - 0) / deviation of resamples of standardised `values` [n]."""
    n, rng = len(values), np.random.default_rng(seed)
    powers, drawn, step = np.column_stack([values, values**2]), [], max(1, CHUNK // n)
    for start in range(0, RESAMPLES, step):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(step, RESAMPLES - start))
        means = counts @ powers / n
        drawn.append(means[:, 0] / np.sqrt(np.maximum(means[:, 1] - means[:, 0] ** 2, 1 / n)))
    return np.concatenate(drawn)


def bounded(metric: str, values: Values, low: float, high: float) -> Estimate:
    """Return the mean of values [n] in [low, high] with Student's interval after half a sample was added at each end of the range.

    For shares and differences of shares, which may be all equal (Agresti & Caffo 2000, for two values).
    """
    n = len(values)
    if n == 0:
        return Estimate(metric, None, 0, reason="no samples")
    size = n + 2 * HALF
    total, squares = float(values.sum()) + HALF * (low + high), float((values**2).sum()) + HALF * (low**2 + high**2)
    variance = max(0.0, squares - total**2 / size) / (size - 1)
    centre, reach = total / size, float(stats.t.ppf((1 + LEVEL) / 2, size - 1)) * math.sqrt(variance / size)
    value = float(values.mean())
    ends = max(low, min(value, centre - reach)), min(high, max(value, centre + reach))
    return Estimate(metric, value, n, *ends, "Student's t, adjusted")


def given(models: int) -> str:
    """Return what an interval of too few trained networks is conditional on, for its method."""
    return f"given {models} surrogate{'s' * (models != 1)}"


def over_models(metric: str, values: Values, low: float, high: float) -> Estimate:
    """Return the mean of values [models, n] in [low, high], of trained networks (other seeds) on samples that they have in common.

    From three networks on the interval is about other seeds and other samples alike: the half-widths of Student's interval over
    samples (see bounded) and over the networks' means are added in squares. The interaction of both is counted twice, so it is
    wider than needed, not narrower. Of fewer networks it is about samples only, given these networks, and its method says so.
    """
    samples, models = bounded(metric, values.mean(axis=0), low, high), len(values)
    if samples.value is None or samples.ci_low is None or samples.ci_high is None:
        return samples
    if models < SEEDS:
        return replace(samples, ci_method=f"{samples.ci_method}, {given(models)}")
    spread = float(values.mean(axis=1).std(ddof=1)) / math.sqrt(models)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, models - 1)) * spread
    below, above = (math.hypot(reach, abs(end - samples.value)) for end in (samples.ci_low, samples.ci_high))
    ends = max(low, samples.value - below), min(high, samples.value + above)
    return Estimate(metric, samples.value, samples.n, *ends, "Student's t over images and seeds")
