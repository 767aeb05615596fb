"""Correlations with bootstrap intervals, corrections for many tests, and a regression with a random intercept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from securitynet.metrics.intervals import LEVEL

Floats = NDArray[np.float64]
RESAMPLES = 2000
MOST_DRAWN, FEWEST_RESAMPLES = 400_000, 400  # of large sets fewer resamples will do: their intervals are narrow


@dataclass(frozen=True)
class Correlation:
    """Pearson's r, Spearman's rho with two-sided p and 95 % bootstrap intervals, and the least-squares line, of `n` pairs."""

    n: int
    pearson: float
    pearson_p: float
    pearson_low: float | None
    pearson_high: float | None
    spearman: float
    spearman_p: float
    spearman_low: float | None
    spearman_high: float | None
    slope: float
    intercept: float


def correlate(x: Floats, y: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Correlation:
    """Return the correlation of x [n] and y [n], n >= 3, neither constant; intervals are of a percentile bootstrap over pairs.

    Without resamples there are no intervals. A resample in which one of them is constant does not count.
    """
    line, rank = stats.linregress(x, y), stats.spearmanr(x, y)
    lows: tuple[tuple[float | None, float | None], ...] = ((None, None), (None, None))
    if resamples:
        count = min(resamples, max(MOST_DRAWN // len(x), FEWEST_RESAMPLES))
        drawn = np.random.default_rng(seed).integers(len(x), size=(count, len(x)))
        cells = np.bincount((drawn + len(x) * np.arange(count)[:, None]).ravel(), minlength=count * len(x))
        counts = cells.reshape(count, len(x)).astype(np.float64)  # sums of mixed types take half as long again
        lows = (_interval(_pearson(counts, x, y)), _interval(_pearson(counts, _midranks(counts, x), _midranks(counts, y))))
    return Correlation(
        len(x), float(line.rvalue), float(line.pvalue), *lows[0], float(rank.statistic), float(rank.pvalue), *lows[1],
        float(line.slope), float(line.intercept),
    )  # fmt: skip


def _midranks(counts: Floats, values: Floats) -> Floats:
    """Return the rank of each of values [n] in resamples that hold it counts [m, n] times; ties share their mean."""
    _, inverse = np.unique(values, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.flatnonzero(np.diff(inverse[order], prepend=-1))
    tied = np.add.reduceat(counts[:, order], starts, axis=1)
    ranks: Floats = np.cumsum(tied, axis=1) - (tied - 1) / 2
    return ranks[:, inverse]


def _pearson(counts: Floats, a: Floats, b: Floats) -> Floats:
    """Return Pearson's r of each resample that holds a and b ([n], or [m, n]) counts [m, n] times; NaN where one is constant."""
    total = counts.shape[1]
    a, b = (one - np.einsum("mn,mn->m", counts, np.broadcast_to(one, counts.shape))[:, None] / total for one in (a, b))
    weighted = counts * a
    spread = np.sqrt(np.einsum("mn,mn->m", weighted, a) * np.einsum("mn,mn,mn->m", counts, b, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-12, np.einsum("mn,mn->m", weighted, b) / spread, np.nan)


def _interval(values: Floats) -> tuple[float | None, float | None]:
    values = values[np.isfinite(values)]
    if len(values) < 100:
        return None, None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def fisher_mean(rhos: Sequence[float], weights: Sequence[float]) -> float:
    """Return the mean of correlations by Fisher's z, weighted (n - 3 where nothing else is held equal)."""
    return float(np.tanh(np.average(np.arctanh(np.clip(rhos, -0.999999, 0.999999)), weights=weights)))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the number of tests by Holm (1979): the chance of any false finding stays below the level."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(one) for one in adjusted]


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Benjamini & Hochberg (1995): the expected share of false ones among findings."""
    return [float(one) for one in stats.false_discovery_control(p)] if len(p) else []


def mean_interval(values: Floats, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of the mean of values [n]."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Effect:
    """A coefficient with its interval and p, and the share of the residual variance that lies between groups (`icc`)."""

    coefficient: float
    low: float
    high: float
    p: float
    df: int
    n: int
    groups: int
    icc: float


def random_intercept(y: Floats, x: Floats, groups: NDArray[np.int64], covariates: Floats | None = None) -> Effect:
    """Return the effect of x [n] on y [n] in y = b0 + b1 x + covariates [n, k] + u_group + e, fitted by REML.

    The test is a t-test with between-within degrees of freedom (Schluchter & Elashoff 1990): an x that is the same for all
    members of a group has as many independent values as there are groups. Raises ValueError where too few are left.
    """
    others = np.empty((len(y), 0)) if covariates is None else covariates
    design = np.column_stack([np.ones(len(y)), x, others])
    count = int(groups.max()) + 1
    sizes: NDArray[np.int64] = np.bincount(groups, minlength=count).astype(np.int64)
    fixed = [bool(np.allclose(column, (np.bincount(groups, column, count) / sizes)[groups])) for column in design[:, 1:].T]
    df = count - 1 - sum(fixed) if fixed[0] else len(y) - count - (len(fixed) - sum(fixed))
    if df < 2:
        raise ValueError("too few groups or too few models for this effect")
    whole = np.column_stack([design, y])
    sums = np.column_stack([np.bincount(groups, column, count) for column in whole.T])
    model = _Moments(whole.T @ whole, np.asarray(sums, dtype=np.float64), sizes, len(y) - design.shape[1])
    best = optimize.minimize_scalar(lambda t: model.deviance(np.exp(t))[0], bounds=(-12, 8), method="bounded")
    ratio = 0.0 if model.deviance(0.0)[0] <= best.fun else float(np.exp(best.x))
    _, beta, covariance = model.deviance(ratio)
    error = float(np.sqrt(covariance[1, 1]))
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * error
    p = float(2 * stats.t.sf(abs(beta[1]) / error, df)) if error > 0 else 0.0
    return Effect(float(beta[1]), float(beta[1] - half), float(beta[1] + half), p, df, len(y), count, ratio / (1 + ratio))


@dataclass(frozen=True, eq=False)
class _Moments:
    """What the likelihood needs of the data: products of [design, y] over all, and their sums in each group."""

    products: Floats
    sums: Floats
    sizes: NDArray[np.int64]
    free: int

    def deviance(self, ratio: float) -> tuple[float, Floats, Floats]:
        """Return minus twice the restricted log-likelihood (up to a constant), the coefficients and their covariance.

        `ratio` is the variance between groups over that within. With V = I + ratio Z Z', V^-1 a = a - w_g (sum of a in g).
        """
        weights = ratio / (1 + ratio * self.sizes)
        cross = self.products - (self.sums * weights[:, None]).T @ self.sums
        gram, target = cross[:-1, :-1], cross[:-1, -1]
        inverse = np.linalg.pinv(gram, hermitian=True)
        beta = inverse @ target
        residual = max(float(cross[-1, -1] - target @ beta), 1e-300)
        deviance = self.free * np.log(residual / self.free) + float(np.log1p(ratio * self.sizes).sum()) + float(np.linalg.slogdet(gram)[1])
        return deviance, beta, inverse * residual / self.free
