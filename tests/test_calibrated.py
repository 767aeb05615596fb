"""Reference-model scores against closed forms, brute force and the optimum of a toy family."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special, stats

from securitynet.attacks.membership import _calibrated as calibrated
from securitynet.metrics import membership as metrics


def toy(n: int = 4000, k: int = 64, gap: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Samples of different difficulty; a model that holds one scores it `gap` higher, noise 1. Half of them are members."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 3, n)
    first = rng.random((n, k // 2)) < 0.5
    held = np.concatenate([first, ~first], axis=1)
    member = np.arange(n) < n // 2
    phi = difficulty + gap * member + rng.normal(size=n)
    references = difficulty[:, None] + gap * held + rng.normal(size=(n, k))
    return phi, references, held, member, difficulty


def auc(score: np.ndarray, member: np.ndarray) -> float:
    value = metrics.auc(score[member], score[~member]).value
    assert value is not None
    return value


def test_lira_and_student_t_reach_the_optimum_of_the_toy_family() -> None:
    phi, references, held, member, difficulty = toy()
    optimum = auc(stats.norm.logpdf(phi, difficulty + 1, 1) - stats.norm.logpdf(phi, difficulty, 1), member)
    assert optimum == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.02)
    for score in (calibrated.lira_online(phi, references, held), calibrated.student_t_online(phi, references, held)):
        assert auc(score, member) == pytest.approx(optimum, abs=0.01)
    for score in (calibrated.lira_offline(phi, references, held), calibrated.lira_online(phi, references, held, per_example=True)):
        assert auc(score, member) == pytest.approx(optimum, abs=0.02)
    assert auc(phi, member) < optimum - 0.1  # without references the difficulty hides the difference


def test_lira_equals_the_closed_form_with_known_parameters() -> None:
    """Two references a side, placed so that means are mu and the unbiased deviation is s."""
    rng = np.random.default_rng(0)
    mu_in, mu_out, s = rng.normal(2, 1, 50), rng.normal(0, 1, 50), 0.7
    shift = s / np.sqrt(2)
    references = np.stack([mu_in - shift, mu_in + shift, mu_out - shift, mu_out + shift], axis=1)
    held = np.tile([True, True, False, False], (50, 1))
    phi = rng.normal(1, 2, 50)
    expected = stats.norm.logpdf(phi, mu_in, s) - stats.norm.logpdf(phi, mu_out, s)
    for per_example in (False, True):
        assert calibrated.lira_online(phi, references, held, per_example) == pytest.approx(expected, abs=1e-9)
        z = (phi - mu_out) / s
        offline = calibrated.lira_offline(phi, references, held, per_example)
        assert offline == pytest.approx(np.log(special.ndtr(z) / special.ndtr(-z)), abs=1e-9)


def test_offline_lira_is_one_sided() -> None:
    """A sample far above what models without it give is a member; the two-sided density would call it unlikely."""
    references, held = np.random.default_rng(0).normal(0, 1, (3, 8)), np.zeros((3, 8), bool)
    score = calibrated.lira_offline(np.array([-4.0, 0.0, 4.0]), references, held)
    assert score[0] < score[1] < score[2]


@pytest.mark.parametrize("offline", [calibrated.lira_offline, calibrated.student_t_offline])
def test_offline_scores_do_not_saturate(offline: Callable[..., np.ndarray]) -> None:
    """A probability of 1 - 1e-300 and one of 1 - 1e-200 are both 1.0 in float64, and yet in order here."""
    references, held = np.tile([-1.0, 1.0], (9, 1)), np.zeros((9, 2), bool)
    score = offline(np.array([-2000.0, -90.0, -80.0, -9.0, 0.0, 9.0, 80.0, 90.0, 2000.0]), references, held)
    assert np.isfinite(score).all() and (np.diff(score) > 0).all()
    assert score == pytest.approx(-score[::-1], abs=1e-9)


def test_each_side_has_its_own_deviation() -> None:
    rng = np.random.default_rng(0)
    held = np.tile(np.arange(8) < 4, (500, 1))
    references = np.where(held, rng.normal(0, 3, (500, 8)), rng.normal(0, 0.5, (500, 8)))
    assert calibrated.pooled_deviation(references, held) == pytest.approx(3, rel=0.05)
    assert calibrated.pooled_deviation(references, ~held) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("gamma", [0.8, 1.0, 2.0])
def test_rmia_equals_a_double_loop(gamma: float) -> None:
    """The population are samples 40 to 59; they are scored, too, each against the others."""
    rng = np.random.default_rng(0)
    log_p, references, held = np.log(rng.random(60)), np.log(rng.random((60, 8))), rng.random((60, 8)) < 0.5
    held[:, 0], held[:, 1] = True, False
    ratio = calibrated.log_ratio_online(log_p, references, held)
    by_hand = []
    for i in range(60):
        inside, outside = np.exp(references[i][held[i]]).mean(), np.exp(references[i][~held[i]]).mean()
        by_hand.append(np.exp(log_p[i]) / (0.5 * (inside + outside)))
    assert np.exp(ratio) == pytest.approx(by_hand, rel=1e-12)
    others = [[z for z in range(40, 60) if z != x] for x in range(60)]
    wins = [sum(by_hand[x] / by_hand[z] > gamma for z in others[x]) / len(others[x]) for x in range(60)]
    assert calibrated.rmia(ratio, np.arange(40, 60), gamma) == pytest.approx(wins, abs=1e-12)
    outside = np.array([np.exp(references[i][~held[i]]).mean() for i in range(60)])
    offline = np.exp(log_p) / (0.5 * (1.33 * outside + 0.67))
    assert np.exp(calibrated.log_ratio_offline(log_p, references, held)) == pytest.approx(offline, rel=1e-12)


def test_base_and_attack_r_by_hand() -> None:
    log_p, references = np.log([0.9, 0.2]), np.log([[0.5, 0.7], [0.4, 0.1]])
    held = np.array([[True, False], [False, False]])
    assert calibrated.base(log_p, references, held) == pytest.approx(np.log([0.9 / 0.6, 0.2 / 0.25]))
    assert calibrated.base(log_p, references, held, online=False) == pytest.approx(np.log([0.9, 0.2]) - 0.33 * np.log([0.7, 0.25]))
    assert calibrated.attack_r(log_p, references, held) == pytest.approx([1.0, 0.5])


def test_student_t_is_the_better_one_with_few_references() -> None:
    few = [toy(k=2, seed=seed) for seed in range(10)]
    gains = [auc(calibrated.student_t_online(*case[:3]), case[3]) - auc(calibrated.lira_online(*case[:3]), case[3]) for case in few]
    assert np.mean(gains) > 0


def test_probabilities_too_small_for_float64_still_have_a_ratio() -> None:
    """exp(-2000) is zero; its logarithm is not."""
    log_p, references = np.array([-1990.0, -2010.0]), np.full((2, 4), -2000.0)
    held = np.tile([True, False, True, False], (2, 1))
    assert calibrated.log_ratio_online(log_p, references, held) == pytest.approx([10.0, -10.0])
    assert calibrated.base(log_p, references, held) == pytest.approx([10.0, -10.0])
    assert calibrated.log_ratio_offline(log_p, references, held, a=1.0) == pytest.approx([10.0, -10.0])
    assert np.isfinite(calibrated.log_ratio_offline(log_p, references, held)).all()


def test_equal_references_give_no_nan() -> None:
    phi, references = np.array([-1.0, 0.0, 1.0]), np.zeros((3, 4))
    held = np.tile([True, False, True, False], (3, 1))
    for per_example in (False, True):
        assert not np.isnan(calibrated.lira_online(phi, references, held, per_example)).any()
        assert (np.diff(calibrated.lira_offline(phi, references, held, per_example)) > 0).all()
    assert np.isfinite(calibrated.student_t_online(phi, references, held)).all()


def test_with_one_model_the_samples_it_holds_are_compared_with_the_others() -> None:
    """Sample 0 is held: where a mean is needed, it is that of samples 1 and 2."""
    phi, references, held = np.log([0.6, 0.6, 0.6]), np.log([[0.9], [0.2], [0.4]]), np.array([[True], [False], [False]])
    spread = np.log([0.2, 0.4]).std()
    z = (phi - np.array([np.log([0.2, 0.4]).mean(), np.log(0.2), np.log(0.4)])) / spread
    assert calibrated.lira_offline(phi, references, held) == pytest.approx(stats.norm.logcdf(z) - stats.norm.logsf(z))
    ratio = 0.6 / (0.5 * (1.33 * np.array([0.3, 0.2, 0.4]) + 0.67))
    assert calibrated.log_ratio_offline(phi, references, held) == pytest.approx(np.log(ratio))
    assert calibrated.base(phi, references, held, online=False) == pytest.approx(phi - 0.33 * np.log([0.3, 0.2, 0.4]))
    assert calibrated.attack_r(phi, references, held) == pytest.approx([1.0, 1.0, 1.0])
    assert calibrated.attack_r(np.log([0.3, 0.3, 0.3]), references, held) == pytest.approx([0.5, 1.0, 0.0])
    assert np.isfinite(calibrated.student_t_offline(phi, references, held)).all()


def test_the_other_side_of_a_sample_is_used_where_its_own_is_thin() -> None:
    """Difficulty is far more spread than noise: with one model a side, predicting across sides must help."""
    few = [toy(k=2, seed=seed) for seed in range(10)]
    across, pooled = (np.array([auc(calibrated.student_t_online(*case[:3], across=way), case[3]) for case in few]) for way in (True, False))
    assert (across - pooled).mean() > 3 * (across - pooled).std(ddof=1) / np.sqrt(10)


def test_a_sample_that_no_model_held_has_no_online_score() -> None:
    score = calibrated.lira_online(np.zeros(2), np.zeros((2, 4)) + np.arange(4), np.array([[False] * 4, [True, True, False, False]]))
    assert np.isnan(score[0]) and np.isfinite(score[1])
