"""Statistics of the findings against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from securitynet.report.findings.statistics import benjamini_hochberg, correlate, holm, random_intercept


def test_random_intercept_against_statsmodels() -> None:
    """References: statsmodels 0.14 MixedLM(y, X, groups).fit(reml=True) on the same numbers."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(12), [3, 5, 8, 2, 9, 4, 6, 7, 3, 5, 4, 10])
    x = rng.normal(size=len(g)) + 0.4 * g
    u, z = rng.normal(size=12)[g], rng.normal(size=12)[g]
    y = 1 + 0.3 * x + 0.8 * u + rng.normal(size=len(g))
    for effect, beta, error, icc, df in (
        (random_intercept(y, x, g), 0.13854601, 0.09758991, 0.2888245, 53),
        (random_intercept(y, z, g, x[:, None]), -0.28371958, 0.29905729, 0.2931614, 10),
    ):
        half = stats.t.ppf(0.975, df) * error  # of the Hessian in statsmodels, of the fitted variances here: equal to half a per cent
        assert (effect.coefficient, effect.icc) == (pytest.approx(beta, abs=1e-5), pytest.approx(icc, abs=1e-4))
        assert (effect.high - effect.low) / 2 == pytest.approx(half, rel=0.005)
        assert effect.df == df and effect.groups == 12
    flat = random_intercept(rng.normal(size=60), rng.normal(size=60), np.arange(60) % 6)
    assert flat.n == 60
    with pytest.raises(ValueError, match="too few"):
        random_intercept(np.arange(6.0), np.asarray([0, 0, 1, 1, 2, 2.0]), np.asarray([0, 0, 1, 1, 2, 2]))


def test_random_intercept_against_a_regression_of_means() -> None:
    """Closed form: with groups of equal size and x constant within them, it is the regression of the groups' means."""
    rng = np.random.default_rng(8)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=10)
    y = 0.5 * x[g] + rng.normal(size=10)[g] + 0.5 * rng.normal(size=60)
    line, effect = stats.linregress(x, [y[g == one].mean() for one in range(10)]), random_intercept(y, x[g], g)
    assert (effect.coefficient, effect.p, effect.df) == (pytest.approx(line.slope, abs=1e-9), pytest.approx(line.pvalue, rel=1e-3), 8)


def test_corrections_against_worked_values() -> None:
    p = [0.01, 0.04, 0.03, 0.005]  # by hand: Holm sorts 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 and never falls
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([]) == benjamini_hochberg([]) == []


def test_bootstrap_intervals_are_of_whole_resamples() -> None:
    """Reference: the same draws, each correlated by scipy on its own; values with ties."""
    rng = np.random.default_rng(11)
    x, y = rng.integers(0, 9, 40).astype(float), rng.integers(0, 6, 40).astype(float)
    drawn = np.random.default_rng(3).integers(40, size=(300, 40))
    found = correlate(x, y, 3, 300)
    ranks = [stats.spearmanr(x[one], y[one]).statistic for one in drawn]
    lines = [stats.pearsonr(x[one], y[one]).statistic for one in drawn]
    assert (found.spearman_low, found.spearman_high) == pytest.approx(tuple(np.quantile(ranks, [0.025, 0.975])), abs=1e-9)
    assert (found.pearson_low, found.pearson_high) == pytest.approx(tuple(np.quantile(lines, [0.025, 0.975])), abs=1e-9)


def test_bootstrap_intervals_cover() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for seed in range(60):
        x = rng.normal(size=60)
        one = correlate(x, 0.6 * x + 0.8 * rng.normal(size=60), seed, 400)
        hits += one.pearson_low <= 0.6 <= one.pearson_high  # type: ignore[operator]
    assert 52 <= hits <= 60
