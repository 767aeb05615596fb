"""Metrics of model stealing against SciPy, brute force and curves with known crossings; answers against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.metrics import accuracy_score

from securitynet.attacks.stealing import Copy, StealingEvidence
from securitynet.attacks.stealing._answers import completed, learnt
from securitynet.metrics import curve, fidelity
from securitynet.metrics.intervals import Estimate
from securitynet.outputs import Outputs

RNG = np.random.default_rng(0)
N, K = 300, 5


def logits(scale: float = 3.0) -> np.ndarray:
    return RNG.normal(size=(N, K)).astype(np.float32) * scale


TARGET = Outputs(logits(), RNG.integers(0, K, N))
COPIES = [np.stack([TARGET.logits + logits(noise) for _ in range(repeats)]) for noise, repeats in ((2.0, 1), (1.0, 1))]
CONTROL, UNTRAINED = (TARGET.logits + logits(4.0))[None], logits(0.1)[None]


def evidence(copies: list[np.ndarray], control: np.ndarray | None = CONTROL) -> StealingEvidence:
    found = tuple(Copy(budget, 10 * budget, one, control) for budget, one in zip((100, 1000), copies, strict=True))
    return StealingEvidence(TARGET, found, UNTRAINED, 1000, {})


def named(found: StealingEvidence, budget: int = 1000) -> dict[str, Estimate]:
    return {one.metric: one for one in found.metrics() if one.budget in (None, budget)}


def test_metrics_agree_with_scikit_learn_and_scipy() -> None:
    target = TARGET.logits.argmax(1)
    p = softmax(TARGET.logits.astype(np.float64), axis=1)
    for budget, copy in ((100, COPIES[0][0]), (1000, COPIES[1][0])):
        found = named(evidence(COPIES), budget)
        q, own = softmax(copy.astype(np.float64), axis=1), copy.argmax(1)
        hits = int((own == target).sum())
        exact = stats.binomtest(hits, N).proportion_ci(method="exact")
        one = found["agreement"]
        assert (one.value, one.n) == (accuracy_score(target, own), N)
        assert (one.ci_low, one.ci_high) == pytest.approx((exact.low, exact.high))
        assert found["accuracy"].value == accuracy_score(TARGET.labels, own)
        assert found["kl"].value == pytest.approx(rel_entr(p, q).sum(1).mean())
        assert found["total_variation"].value == pytest.approx(np.abs(p - q).sum(1).mean() / 2)
        wrong = target != TARGET.labels
        assert found["agreement_on_errors"].value == accuracy_score(target[wrong], own[wrong])
        assert found["relative_accuracy"].value == pytest.approx((own == TARGET.labels).mean() / (target == TARGET.labels).mean())
        assert found["excess_agreement"].value == pytest.approx((own == target).mean() - (CONTROL[0].argmax(1) == target).mean())


def test_kl_of_probabilities_too_small_for_float64() -> None:
    sure, unsure = np.array([[0.0, -900.0]]), np.array([[0.0, 0.0]])
    divergence, distance = fidelity.distances(log_softmax(unsure, 1), log_softmax(sure, 1))
    assert divergence[0] == pytest.approx(np.log(2)) and distance[0] == pytest.approx(0.5)
    assert fidelity.distances(log_softmax(sure, 1), log_softmax(unsure, 1))[0][0] == pytest.approx(450 - np.log(2))


def test_paired_intervals_are_those_of_scipy() -> None:
    """The same pairs drawn again: a difference by BCa-free percentile bootstrap, and by the normal approximation."""
    first, second = (RNG.random(N) < 0.8).astype(float), (RNG.random(N) < 0.7).astype(float)
    one = curve.difference("excess", first, second)
    drawn = stats.bootstrap((first, second), lambda a, b, axis: a.mean(axis) - b.mean(axis), paired=True, method="percentile", rng=1)
    assert one.value == pytest.approx(first.mean() - second.mean())
    assert (one.ci_low, one.ci_high) == pytest.approx(tuple(drawn.confidence_interval), abs=0.01)
    reach = 1.96 * (first - second).std() / np.sqrt(N)
    assert (one.ci_low, one.ci_high) == pytest.approx((one.value - reach, one.value + reach), abs=0.01)  # type: ignore[operator]
    part = curve.ratio("relative", first, second)
    drawn = stats.bootstrap((first, second), lambda a, b, axis: a.mean(axis) / b.mean(axis), paired=True, method="percentile", rng=1)
    assert (part.ci_low, part.ci_high) == pytest.approx(tuple(drawn.confidence_interval), abs=0.015)


def test_equal_copies_and_controls_have_no_excess() -> None:
    found = named(evidence([CONTROL, CONTROL]))
    one = found["excess_agreement"]
    assert one.value == 0 and one.ci_low == -one.ci_high < 0  # equal on these samples is not equal on all


def test_several_copies_count_once_each_and_share_the_samples() -> None:
    pair = np.concatenate([COPIES[1], logits()[None]])
    found = named(evidence([pair, pair], np.concatenate([CONTROL, CONTROL])))
    target = TARGET.logits.argmax(1)
    each = [(copy.argmax(1) == target) for copy in pair]
    assert (
        found["agreement"].value == pytest.approx(np.mean(each))
        and found["agreement"].ci_method == "Student's t, adjusted, given 2 surrogates"
    )
    reach = 1.96 * np.mean(each, axis=0).std() / np.sqrt(N)
    assert found["agreement"].ci_high == pytest.approx(np.mean(each) + reach, abs=0.01)


def test_the_control_that_knows_most_counts() -> None:
    """A target that nearly always names one class is copied by saying so."""
    lazy = Outputs(np.eye(K, dtype=np.float32)[[0] * (N - 10) + [1] * 10], TARGET.labels)
    copy = Copy(10, 10, lazy.logits[None], CONTROL)
    found = {one.metric: one for one in StealingEvidence(lazy, (copy,), UNTRAINED, 10, {}).metrics()}
    assert found["excess_agreement"].value == pytest.approx(10 / N)
    assert found["excess_agreement"].reason == "above the control: the most frequent class"
    assert found["constant_agreement"].value == pytest.approx((N - 10) / N)


def test_queries_needed_on_a_curve_that_is_linear_in_the_logarithm() -> None:
    """Accuracy 0.2 at 10, 0.5 at 100, 0.8 at 1,000 queries of a target that is always right: 0.5 at 100, 0.65 half way on."""
    right = [np.arange(1000) < 1000 * share for share in (0.2, 0.5, 0.8)]
    target = np.ones(1000, bool)
    found = curve.queries_needed((10, 100, 1000), [one.astype(float) for one in right], target, (0.1, 0.5, 0.65, 0.9))
    assert [one.metric for one in found] == ["queries_for_10", "queries_for_50", "queries_for_65", "queries_for_90"]
    few, half, more, never = found
    assert (few.value, few.reason) == (10, "or fewer")
    assert half.value == pytest.approx(100) and more.value == pytest.approx(10**2.5)
    assert more.ci_low is not None and more.ci_high is not None and 250 < more.ci_low < 10**2.5 < more.ci_high < 400
    assert never.value is None and never.reason == "not reached with 1000 queries"
    assert curve.queries_needed((10,), [np.zeros(5)], np.zeros(5, bool), (0.5,))[0].reason == "the target is never right"


def test_what_an_answer_teaches() -> None:
    p = np.array([[0.62, 0.251, 0.1, 0.029], [0.25, 0.25, 0.25, 0.25]])
    logs = np.log(p)
    np.testing.assert_allclose(learnt(logs, "probabilities").numpy(), p, rtol=1e-6)
    assert learnt(logs, "labels").tolist() == [0, 0]
    np.testing.assert_allclose(learnt(logs, "top-2").numpy(), [[0.62, 0.251, 0.0645, 0.0645], [0.25, 0.25, 0.25, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(learnt(logs, "top-4").numpy(), p, rtol=1e-6)
    np.testing.assert_allclose(learnt(logs, "rounded-1").numpy()[0], np.array([0.6, 0.3, 0.1, 0.0]), atol=1e-7)
    np.testing.assert_allclose(learnt(logs, "rounded-0").numpy()[0], [1, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(learnt(logs, "rounded-0").numpy()[1], [0.25] * 4)  # nothing is left: nothing is known
    flat = learnt(np.log([[0.14] * 7 + [0.02]]), "rounded-1").numpy()[0]
    assert flat[7] == 0, "what rounding took away does not make the least likely class the likeliest"


def test_completed_answers_sum_to_one() -> None:
    told = np.round(softmax(RNG.normal(size=(50, 7)) * 3, axis=1), 1)
    np.testing.assert_allclose(completed(told).sum(1), 1)
    assert (completed(told) >= 0).all()
