"""Intervals as claims: how often they hold the truth, on small simulations; benchmarks/coverage.py has the large ones."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import securitynet.metrics
from securitynet.metrics import bands, means, membership, operating
from securitynet.metrics.placements import Scores

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def drawn(rng: np.random.Generator, n: int, m: int, d: float) -> tuple[Scores, Scores]:
    return d + (1.3 if d else 1.0) * rng.standard_normal(n), rng.standard_normal(m)


def rate(fpr: float, d: float) -> float:
    return float(stats.norm.sf((stats.norm.isf(fpr) - d) / (1.3 if d else 1.0)))


@pytest.mark.parametrize(
    ("n", "m", "fpr", "d"), [(1000, 1000, 0.01, 0.0), (1000, 1000, 0.01, 1.0), (5000, 1000, 0.001, 0.3), (2000, 5000, 0.001, 1.0)]
)
def test_a_rate_at_an_estimated_threshold_holds_its_truth(n: int, m: int, fpr: float, d: float) -> None:
    rng = np.random.default_rng(0)
    found = [operating.tpr_at_fpr(*drawn(rng, n, m, d), fpr) for _ in range(200)]
    assert sum(one.ci_low <= rate(fpr, d) <= one.ci_high for one in found) >= 190  # type: ignore[operator]
    assert all((one.value is None) == (m < operating.fewest(fpr)) for one in found)
    if m >= operating.fewest(fpr):
        slope = stats.norm.pdf((stats.norm.isf(fpr) - d) / (1.3 if d else 1)) / (1.3 if d else 1) / stats.norm.pdf(stats.norm.isf(fpr))
        known = 2 * 1.96 * np.sqrt(rate(fpr, d) * (1 - rate(fpr, d)) / n + slope**2 * fpr * (1 - fpr) / m)
        assert np.mean([one.ci_high - one.ci_low for one in found]) < 1.8 * known  # type: ignore[operator]


def test_the_mean_false_positive_rate_is_at_most_the_nominal_one() -> None:
    rng = np.random.default_rng(1)
    for m, fpr in ((1000, 0.001), (5000, 0.001), (150, 0.01), (30, 0.1)):
        true = stats.norm.sf([operating.threshold_at(rng.standard_normal(m), fpr) for _ in range(3000)])
        assert true.mean() == pytest.approx(operating.rank(m, fpr) / (m + 1), rel=0.12)
        assert operating.rank(m, fpr) / (m + 1) <= fpr
    assert operating.threshold_at(np.arange(998.0), 0.001) is None
    assert [operating.fewest(fpr) for fpr in (0.1, 0.01, 0.001)] == [42, 437, 4380]


def test_too_few_non_members_have_no_lower_end() -> None:
    rng = np.random.default_rng(2)
    few, enough = (operating.tpr_at_fpr(rng.standard_normal(900) + 2, rng.standard_normal(m), 0.01) for m in (436, 437))
    assert few.value is None and few.ci_low == 0.0 and 0 < few.ci_high <= 1 and "437" in str(few.reason)  # type: ignore[operator]
    assert enough.value is not None and enough.ci_low > 0.0  # type: ignore[operator]


def test_a_top_tie_has_no_low_false_positive_rate() -> None:
    right = np.r_[np.ones(950), np.zeros(50)], np.r_[np.ones(900), np.zeros(100)]
    found = operating.tpr_at_fpr(*right, 0.01)
    assert (found.value, found.ci_low, found.ci_high) == (None, None, None) and "900 of 1000 non-members share" in str(found.reason)
    unbeaten = operating.tpr_at_fpr(np.arange(1000.0), np.arange(1000.0) + 5000, 0.01)
    assert unbeaten.value == 0.0  # no tie: the non-members are just larger


def test_equal_scores_do_not_prove_an_auc_of_one_half() -> None:
    for n in (2, 10, 1000):
        found = membership.auc(np.ones(n), np.ones(n))
        unseen = (1 - 0.025 ** (1 / n)) / 2  # what could still be larger, of the members alone
        assert found.value == 0.5 and found.ci_low < 0.5 - unseen / 2 and found.ci_high > 0.5 + unseen / 2  # type: ignore[operator]


@pytest.mark.parametrize(("n", "m", "d"), [(12, 12, 0.0), (20, 200, 1.0), (30, 30, 4.0), (400, 400, 0.3)])
def test_auc_interval_holds_at_small_sizes_and_near_one(n: int, m: int, d: float) -> None:
    rng, truth = np.random.default_rng(3), stats.norm.cdf(d / np.hypot(1, 1.3 if d else 1))
    found = [membership.auc(*drawn(rng, n, m, d)) for _ in range(400)]
    assert sum(one.ci_low <= truth <= one.ci_high for one in found) >= 370  # type: ignore[operator]


@pytest.mark.parametrize(("n", "m", "d"), [(300, 300, 0.0), (1000, 400, 1.0)])
def test_the_band_holds_the_whole_curve(n: int, m: int, d: float) -> None:
    rng, grid, held = np.random.default_rng(4), np.geomspace(1e-3, 1, 200), 0
    truth = np.array([rate(fpr, d) for fpr in grid])
    for _ in range(200):
        low, high = bands.roc_band(*drawn(rng, n, m, d), grid)
        held += bool(((low <= truth) & (truth <= high)).all())
        assert (np.diff(low) >= 0).all() and (np.diff(high) >= 0).all()
    assert held >= 186


def test_means_of_skewed_and_of_equal_values() -> None:
    rng = np.random.default_rng(5)
    found = [means.mean("kl", rng.lognormal(0, 1, 200), seed) for seed in range(200)]
    assert sum(one.ci_low <= np.exp(0.5) <= (np.inf if one.ci_high is None else one.ci_high) for one in found) >= 182  # type: ignore[operator]
    assert means.mean("kl", np.zeros(50)).ci_low is None
    equal = means.bounded("agreement", np.ones(1000), 0.0, 1.0)
    assert (equal.value, equal.ci_high) == (1.0, 1.0) and 0.99 < equal.ci_low < 0.9999  # type: ignore[operator]


def test_every_public_estimator_is_simulated() -> None:
    """A function of securitynet.metrics that returns an Estimate stands in the benchmark of coverage."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        parts = [importlib.import_module(name).cases() for name in ("coverage_cases", "coverage_family", "coverage_usage")]
        simulated = " ".join({case.interval for part in parts for case in part})
    finally:
        sys.path.remove(str(BENCHMARKS))
    missing = []
    for module in pkgutil.iter_modules(securitynet.metrics.__path__, "securitynet.metrics."):
        if module.ispkg:
            continue
        for name, function in inspect.getmembers(importlib.import_module(module.name), inspect.isfunction):
            own = function.__module__ == module.name and not name.startswith("_")
            if own and "Estimate" in str(inspect.signature(function).return_annotation) and name not in simulated:
                missing.append(f"{module.name}.{name}")
    assert not missing


def test_a_mean_that_few_values_decide_has_no_upper_end_and_the_reason() -> None:
    rng = np.random.default_rng(5)
    for values, few in ((rng.standard_normal(1000), False), (rng.exponential(size=1000), False), (rng.lognormal(0, 2, 1000), True)):
        found = means.mean("kl", values)
        assert found.ci_low is not None and (found.reason is not None) is few and (found.ci_high is None) is few
