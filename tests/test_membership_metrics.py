"""Metrics of membership against brute force: per class, ROC, alarm rates; what is computed from an answer is computed once."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import nn

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership import _formulas as formulas
from securitynet.attacks.membership.tail import TailEvidence
from securitynet.data import ArrayImages, Split
from securitynet.data.transform import Transform
from securitynet.inputs import from_module
from securitynet.metrics import membership as metrics
from securitynet.target import Outputs, query


def drawn(n_in: int, n_out: int, classes: int, digits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    members, others = rng.normal(0.4, 1, n_in).round(digits), rng.normal(0, 1, n_out).round(digits)
    return members, others, rng.integers(0, classes, n_in), rng.integers(0, classes, n_out)


@pytest.mark.parametrize(("classes", "digits"), [(1, 3), (7, 1), (7, 0), (150, 2)])
def test_auc_per_class_is_that_of_each_class_alone(classes: int, digits: int) -> None:
    members, others, inside, outside = drawn(500, 400, classes, digits)
    per_class = metrics.per_class_auc(members, others, inside, outside, classes)
    several = 0
    for label in range(classes):
        own, other = members[inside == label], others[outside == label]
        assert (per_class.members[label], per_class.non_members[label]) == (len(own), len(other))
        alone = metrics.auc(own, other)
        three = np.array([per_class.auc[label], per_class.ci_low[label], per_class.ci_high[label]])
        if min(len(own), len(other)) < 2:
            assert np.isnan(three).all() and alone.value is None
            continue
        several += 1
        assert three == pytest.approx([alone.value, alone.ci_low, alone.ci_high], abs=1e-12)
        assert three[0] == pytest.approx(roc_auc_score(np.repeat([1, 0], [len(own), len(other)]), np.concatenate([own, other])), abs=1e-12)
    assert several > classes / 2


def test_auc_per_class_at_the_edges() -> None:
    apart = metrics.per_class_auc(np.array([2.0, 3, 0, 1]), np.array([0.0, 1, 2, 3]), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 4)
    assert apart.auc[:2].tolist() == [1.0, 0.0] and np.isnan(apart.auc[2:]).all()
    assert apart.ci_low[0] < 0.3 and apart.ci_high[0] == 1.0  # two samples say little, however far apart
    assert (apart.ci_low[1], apart.ci_high[1]) == (0.0, pytest.approx(1 - apart.ci_low[0]))
    nobody = metrics.per_class_auc(np.empty(0), np.empty(0), np.empty(0, int), np.empty(0, int), 2)
    assert np.isnan(nobody.auc).all()
    with pytest.raises(ValueError, match="labels run from 0 to 3"):
        metrics.per_class_auc(np.zeros(2), np.zeros(2), np.array([0, 1]), np.array([0, 3]), 3)


def test_roc_holds_every_rate_and_alarm_rates_are_shares() -> None:
    members, others, _, _ = drawn(300, 250, 2, 1)
    fpr, tpr, thresholds = metrics.roc(members, others)
    assert math.isinf(thresholds[0]) and (np.diff(thresholds) < 0).all()
    for one in range(len(thresholds)):
        assert fpr[one] == pytest.approx((others >= thresholds[one]).mean()) and tpr[one] == pytest.approx(
            (members >= thresholds[one]).mean()
        )
    for limit in (0.2, 0.1):
        k = math.floor(limit * 251 + 1e-9)
        assert metrics.tpr_at_fpr(members, others, limit).value == pytest.approx(tpr[fpr <= (k - 1) / 250].max(), abs=1e-12)
        assert metrics.threshold_at(others, limit) == np.sort(others)[-k]
    assert metrics.alarm_rate(members, others) == pytest.approx([(others >= score).mean() for score in members], abs=1e-15)
    assert metrics.threshold_at(others, 0.001) is None and metrics.threshold_at(others, 1.0) == -math.inf


def test_log_odds_are_exact_where_the_sum_of_the_others_underflows() -> None:
    """The other classes sum to less than the smallest float64; among many rows, so that some are in later pieces."""
    margins = np.tile(np.array([1.0, 700, 740, 760, 3e4, -3e4], dtype=np.float32), 3000)
    logits = np.zeros((len(margins), 5), np.float32)
    logits[:, 2], logits[:, 4] = margins, -5
    answers = Outputs(logits, np.full(len(margins), 2))
    assert len(list(answers.pieces())) > 1
    assert formulas.log_odds(answers) == pytest.approx(margins.astype(float) - math.log(3 + math.exp(-5)), rel=1e-15, abs=1e-12)
    assert (np.diff(formulas.log_others(answers)[:5]) < 0).all()


def test_an_answer_is_worked_on_once() -> None:
    answers = Outputs(np.zeros((4, 3), np.float32), np.zeros(4, int))
    calls: list[Outputs] = []
    assert [answers.cached(lambda outputs: len(outputs.labels)) for _ in range(2)] == [4, 4]

    def counted(outputs: Outputs) -> int:
        calls.append(outputs)
        return len(calls)

    assert [answers.cached(counted) for _ in range(3)] == [1, 1, 1] and calls == [answers]
    with pytest.raises(ValueError, match="read-only"):
        formulas.log_likelihood(answers)[0] = 1.0
    network = nn.Sequential(nn.Flatten(), nn.Linear(30, 3))
    target, images = from_module(network, {"input_size": [1, 6, 5]}), ArrayImages(np.zeros((9, 6, 5), np.uint8), np.zeros(9))
    members = Split("members", images, np.arange(9), images.labels, Transform((1, 6, 5)))
    first = query(target, members, Accelerator(cpu=True))
    assert query(target, members, Accelerator(cpu=True)) is first
    relabelled = replace(members, labels=(members.labels + 1) % 3)
    assert np.array_equal(query(target, relabelled, Accelerator(cpu=True)).labels, relabelled.labels)


def test_the_tail_by_brute_force_and_in_closed_form() -> None:
    """True-negative rate of a loss threshold that loses at most so many members: Gaussian scores at distance d give Phi(d - z)."""
    rng = np.random.default_rng(0)
    for distance in (0.0, 0.5, 2.0):
        members, non_members = rng.normal(distance, 1, 40_000), rng.normal(0, 1, 40_000)
        evidence = MembershipEvidence(members, non_members, np.arange(40_000) % 2 == 0, np.arange(40_000) % 2 == 0)
        for estimate, rate in zip(TailEvidence(evidence).metrics(), (0.1, 0.01, 0.001), strict=True):
            threshold = np.sort(members)[int(rate * (len(members) + 1) + 1e-9) - 1]  # the k-th smallest
            assert estimate.metric == f"tnr_at_fnr_{rate:g}"
            assert estimate.value == pytest.approx((non_members < threshold).mean(), abs=1e-12)
            assert estimate.value == pytest.approx(stats.norm.cdf(distance - stats.norm.isf(rate)), abs=0.01)
    few = TailEvidence(MembershipEvidence(members[:50], non_members[:50], np.ones(50, bool), np.ones(50, bool))).metrics()
    assert few[0].value is not None and few[1].value is None and "needs at least 437 members" in str(few[1].reason)
