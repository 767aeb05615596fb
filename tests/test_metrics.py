"""Metrics against scikit-learn, closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from securitynet.metrics import membership as metrics
from securitynet.metrics.intervals import clopper_pearson, difference, rate
from securitynet.metrics.operating import fewest


def scores(n_in: int, n_out: int, shift: float, seed: int = 0, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    members, non_members = rng.normal(shift, 1, n_in), rng.normal(0, 1, n_out)
    return (members, non_members) if digits is None else (members.round(digits), non_members.round(digits))


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize(("n_in", "n_out"), [(500, 500), (37, 1200), (1200, 37)])
def test_auc_and_tpr_equal_scikit_learn(n_in: int, n_out: int, digits: int | None) -> None:
    members, non_members = scores(n_in, n_out, 0.7, digits=digits)
    labels = np.repeat([1, 0], [n_in, n_out])
    both = np.concatenate([members, non_members])
    assert metrics.auc(members, non_members).value == pytest.approx(roc_auc_score(labels, both), abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, both, drop_intermediate=False)
    for limit in (0.1, 0.05, 0.01):
        estimate = metrics.tpr_at_fpr(members, non_members, limit)
        if n_out < fewest(limit):
            assert estimate.value is None and "needs at least" in str(estimate.reason) and estimate.ci_low == 0.0
            continue
        allowed = math.floor(limit * (n_out + 1) + 1e-9) - 1  # non-members above the k-th largest
        assert estimate.value == pytest.approx(tpr[fpr <= allowed / n_out + 1e-12].max(), abs=1e-12)


def test_auc_interval_is_delongs_with_half_a_sample_at_each_end_of_both_groups() -> None:
    """Reference: every sample twice, and one of each of the four ends, which have half the weight of a sample."""
    members, non_members = scores(60, 80, 0.5, digits=1)
    ends = np.array([-np.inf, np.inf])
    inside, outside = np.concatenate([members, members, ends]), np.concatenate([non_members, non_members, ends])
    wins = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    centre = wins.mean()
    variance = wins.mean(1).var() / 60 + wins.mean(0).var() / 80  # divided by n: half weights make 61 of them, less one
    estimate = metrics.auc(members, non_members)
    half = stats.norm.ppf(0.975) * math.sqrt(variance)
    assert (estimate.ci_low, estimate.ci_high) == (pytest.approx(centre - half, abs=1e-12), pytest.approx(centre + half, abs=1e-12))


def test_auc_interval_of_many_is_delongs_to_the_third_digit() -> None:
    members, non_members = scores(1000, 1500, 0.5)
    wins = (members[:, None] > non_members) + 0.5 * (members[:, None] == non_members)
    half = stats.norm.ppf(0.975) * math.sqrt(wins.mean(1).var(ddof=1) / 1000 + wins.mean(0).var(ddof=1) / 1500)
    estimate = metrics.auc(members, non_members)
    assert (estimate.ci_low, estimate.ci_high) == (pytest.approx(wins.mean() - half, abs=5e-4), pytest.approx(wins.mean() + half, abs=5e-4))


def test_gaussian_scores_give_the_analytic_auc_and_rate() -> None:
    members, non_members = scores(200_000, 200_000, 1.0)
    assert metrics.auc(members, non_members).value == pytest.approx(stats.norm.cdf(1 / math.sqrt(2)), abs=0.003)
    assert metrics.tpr_at_fpr(members, non_members, 0.01).value == pytest.approx(stats.norm.sf(stats.norm.isf(0.01) - 1), abs=0.005)


def test_auc_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = stats.norm.cdf(0.3 / math.sqrt(2))
    found = [metrics.auc(*scores(150, 150, 0.3, seed)) for seed in range(400)]
    covered = sum((one.ci_low or 0) <= truth <= (one.ci_high or 0) for one in found)
    assert 365 <= covered <= 395  # 95 % of 400 is 380; three standard deviations are 13


@pytest.mark.parametrize(("members", "non_members", "value"), [((2, 3), (0, 1), 1.0), ((0, 1), (2, 3), 0.0), ((1, 1), (1, 1), 0.5)])
def test_degenerate_auc(members: tuple[int, ...], non_members: tuple[int, ...], value: float) -> None:
    estimate = metrics.auc(np.array(members, float), np.array(non_members, float))
    assert estimate.value == value
    assert estimate.ci_low is not None and estimate.ci_high is not None and estimate.ci_low <= value <= estimate.ci_high


def test_best_threshold_by_brute_force_and_balanced_accuracy() -> None:
    members, non_members = scores(80, 120, 0.8, digits=1)
    threshold = metrics.best_threshold(members, non_members)
    gains = {t: (members >= t).mean() - (non_members >= t).mean() for t in np.concatenate([members, non_members])}
    assert gains[threshold] == pytest.approx(max(gains.values()))
    others = scores(200, 300, 0.8, seed=1)
    estimate = metrics.balanced_accuracy(*others, threshold)
    predicted = np.concatenate(others) >= threshold
    assert estimate.value == pytest.approx(balanced_accuracy_score(np.repeat([True, False], [200, 300]), predicted), abs=1e-12)
    assert estimate.value is not None and metrics.advantage(estimate).value == pytest.approx(2 * estimate.value - 1, abs=1e-12)
    assert metrics.best_threshold(np.zeros(5), np.ones(5)) == math.inf


def test_rates_have_exact_intervals() -> None:
    for successes, n in ((0, 10), (3, 10), (10, 10), (173, 2000)):
        exact = stats.binomtest(successes, n).proportion_ci(0.95, method="exact")
        assert clopper_pearson(successes, n) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert rate("accuracy", 0, 0).value is None


def test_difference_of_rates_is_newcombes() -> None:
    """Newcombe (1998), table II, method 10, first example: 56/70 - 48/80 gives 0.0524 to 0.3339."""
    estimate = difference("gap", (56, 70), (48, 80))
    assert (estimate.value, estimate.ci_low, estimate.ci_high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
