"""Scores of membership against independent computations, and exact where floating point is thin."""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest
import scipy.special

from securitynet.attacks.membership import _formulas as scores
from securitynet.target import Outputs


def outputs(n: int = 300, k: int = 10, scale: float = 4.0) -> Outputs:
    rng = np.random.default_rng(0)
    return Outputs(rng.normal(0, scale, (n, k)).astype(np.float32), rng.integers(0, k, n))


@pytest.mark.parametrize("k", [2, 3, 10, 1000])
def test_scores_equal_plain_formulas(k: int) -> None:
    answers = outputs(k=k)
    rows = np.arange(len(answers.labels))
    p = scipy.special.softmax(answers.logits.astype(np.float64), axis=1)
    p_y = p[rows, answers.labels]
    others = np.delete(p.ravel(), rows * k + answers.labels).reshape(len(rows), k - 1)
    assert np.allclose(scores.log_likelihood(answers), np.log(p_y), atol=1e-9)
    assert np.allclose(scores.log_odds(answers), np.log(p_y) - np.log(others.sum(1)), atol=1e-9)
    assert np.allclose(scores.negative_entropy(answers), (p * np.log(p)).sum(1), atol=1e-9)
    expected = (1 - p_y) * np.log(p_y) + (others * np.log1p(-others)).sum(1)
    assert np.allclose(scores.negative_modified_entropy(answers), expected, atol=1e-9)


def test_extreme_logits_stay_finite_and_ordered() -> None:
    """Members of ever larger margin: every score keeps rising, where a clamp at 1e-30 or 1 - p would tie or turn it round."""
    margins = np.array([-700, -200, -50, -1, 0, 1, 20, 40, 80, 200, 600], dtype=np.float32)
    logits = np.zeros((len(margins), 3), np.float32)
    logits[:, 0] = margins
    answers = Outputs(logits, np.zeros(len(margins), np.int64))
    for score in (scores.log_likelihood, scores.log_odds, scores.negative_modified_entropy):
        assert np.isfinite(score(answers)).all()
        assert (np.diff(score(answers)) > 0).all(), score.__name__


def test_high_precision_reference() -> None:
    getcontext().prec = 60
    logits = [Decimal(45), Decimal(0), Decimal(3)]
    total = sum(z.exp() for z in logits)
    p = [z.exp() / total for z in logits]
    answers = Outputs(np.array([[45, 0, 3]], np.float32), np.array([0]))
    assert scores.log_likelihood(answers)[0] == pytest.approx(float(p[0].ln()), rel=1e-12)
    assert scores.log_odds(answers)[0] == pytest.approx(float(p[0].ln() - (p[1] + p[2]).ln()), rel=1e-12)
    mentr = (1 - p[0]) * p[0].ln() + sum(q * (1 - q).ln() for q in p[1:])
    assert scores.negative_modified_entropy(answers)[0] == pytest.approx(float(mentr), rel=1e-9)


def test_outputs_are_not_changed_by_scoring() -> None:
    answers = outputs()
    before = answers.log_probabilities.copy()
    for score in (scores.log_likelihood, scores.log_odds, scores.negative_entropy, scores.negative_modified_entropy):
        score(answers)
    assert np.array_equal(before, answers.log_probabilities)


def test_ties_of_float32_probabilities_are_counted_and_never_infinite() -> None:
    """A network that returns float32 probabilities: what is left beside 1 tells answers apart, until that too is 0."""
    import torch

    from securitynet.attacks.membership import MembershipEvidence
    from securitynet.attacks.membership.loss import single_precision, ties
    from securitynet.entry import Entry
    from securitynet.target import Answers

    logits = torch.tensor([[200.0, 0, 0], [300, 0, 0], [400, 0, 0], [30, 0, 0]])
    from_probabilities = Answers(Entry(id="t", num_classes=3, output="probabilities"))(logits.softmax(1)).numpy()
    labels = np.array([0, 0, 0, 0])
    coarse, fine = (scores.log_likelihood(Outputs(z, labels)) for z in (from_probabilities, logits.numpy()))
    assert np.isfinite(coarse).all() and np.isfinite(scores.log_odds(Outputs(from_probabilities, np.array([1, 1, 1, 1])))).all()
    known = np.array([True, False])
    words = ties(MembershipEvidence(coarse[:2], coarse[2:], known, known))
    assert words is not None and words.startswith("3 of 4 samples tie")
    assert coarse[3] == pytest.approx(fine[3], rel=1e-5) and coarse[3] < coarse[0]
    assert ties(MembershipEvidence(fine[:2], fine[2:], known, known)) is None
    remark = single_precision(Outputs(logits[:2].numpy(), labels[:2]), Outputs(logits[2:].numpy(), labels[2:]))
    assert remark is not None and "in float32 4 of 4 losses are exactly 0" in remark
