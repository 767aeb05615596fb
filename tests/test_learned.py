"""Attacks that are fitted: unequal groups, nothing to learn, both halves; scores that are no number; outputs of other kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

import securitynet
from securitynet.attacks.membership import MembershipEvidence, _learned, _networks, half
from securitynet.attacks.membership import _formulas as formulas
from securitynet.attacks.membership.mlp import Mlp
from securitynet.data import ArrayImages, Split, Splits
from securitynet.data.transform import Transform
from securitynet.errors import NotFinite, Skipped
from securitynet.inputs import from_module
from securitynet.metrics.crossed import crossed_auc
from securitynet.outputs import Outputs
from securitynet.target import query

NOTHING = Transform((1, 1, 1))


def answers(n: int, boost: float, seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    logits = rng.standard_normal((n, 10)) * 2
    logits[np.arange(n), labels] += 2 + boost
    return Outputs(logits.astype(np.float32), labels)


def attacked(monkeypatch: pytest.MonkeyPatch, boost: float, n: int = 4000, m: int = 1000) -> MembershipEvidence:
    both = answers(n, boost, 0), answers(m, 0.0, 1)
    monkeypatch.setattr(_learned, "ask", lambda target, splits, accelerator: both)
    parts = [
        Split(name, ArrayImages(np.zeros((1, 1, 1), np.uint8), np.zeros(1)), np.zeros(1, int), np.zeros(1, int), NOTHING) for name in "ab"
    ]
    splits = Splits("x", None, 0, "official-split", 10, parts[0], parts[1], None, parts[1])
    return Mlp(fits=1)(from_module(nn.Linear(1, 10), {"input_size": [1, 1, 1]}), splits, Accelerator(cpu=True))


def test_four_times_as_many_members_do_not_stop_the_network_before_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    found = attacked(monkeypatch, 1.5)
    area = found.metrics()[0]
    assert area.value is not None and area.ci_low is not None and area.ci_low > 0.55 and area.ci_method == "DeLong"
    assert {one.scope for one in found.metrics()} == {"half"}
    assert {"swapped_members", "swapped_non_members"} <= set(found.arrays()) and found.swapped is not None
    masks = found.known_members, found.known_non_members
    whole = crossed_auc((found.members, found.non_members), found.swapped, masks)
    assert whole.value == pytest.approx(area.value, abs=0.05) and whole.ci_low is not None and whole.ci_low > 0.58


def test_where_nothing_can_be_learned_there_is_no_number() -> None:
    class Hopeless:
        gain = -0.01

        def predict_proba(self, features: np.ndarray) -> np.ndarray:
            return np.full((len(features), 2), 0.5)

    known = [np.arange(8) % 2 == 0] * 2
    with pytest.raises(Skipped, match=r"learned nothing.*0\.0100 above that of guessing"):
        _learned._scores(lambda features, is_member, seed: Hopeless(), [np.zeros((8, 1))] * 2, known, 0)


def test_both_groups_weigh_the_same() -> None:
    is_member = np.repeat([1, 0], [400, 100])
    weights = _networks.balanced(is_member)
    assert weights[is_member == 1].sum() == pytest.approx(weights[is_member == 0].sum()) and weights.mean() == pytest.approx(1)
    everybody = np.tile([0.2, 0.8], (500, 1))
    loss = _networks.log_loss(everybody, is_member)
    assert loss == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2) and loss > np.log(2)
    aside = _networks.kept_aside(is_member, 0)
    assert (aside[is_member == 1].sum(), aside[is_member == 0].sum()) == (40, 10)


def test_a_score_that_is_no_number_fails_and_says_for_how_many() -> None:
    members, others = np.arange(10.0), np.arange(8.0)
    members[:3], others[0] = np.nan, np.inf
    with pytest.raises(NotFinite, match="3 of 10 members and 1 of 8 non-members"):
        MembershipEvidence(members, others, half(10, 0), half(8, 1))


class Fixed(nn.Module):
    """Answers a function of the image's only pixel."""

    def __init__(self, answer: object, classes: int) -> None:
        super().__init__()
        self.answer, self.num_classes = answer, classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.answer(images.flatten(1))  # type: ignore[operator,no-any-return]


def asked(module: nn.Module, **given: object) -> np.ndarray:
    pixels = np.array([0, 51, 204, 255], np.uint8).reshape(4, 1, 1)
    split = Split("members", ArrayImages(pixels, np.array([0, 0, 1, 1])), np.arange(4), np.array([0, 0, 1, 1]), NOTHING)
    return query(from_module(module, {"input_size": [1, 1, 1], **given}), split, Accelerator(cpu=True)).logits


def test_a_single_output_is_the_second_of_two_classes() -> None:
    logits = asked(nn.Sequential(nn.Flatten(), Identity1(), nn.Sigmoid()))
    odds = logits[:, 1] - logits[:, 0]
    assert odds == pytest.approx([0, 0.2, 0.8, 1], abs=1e-5)  # the sigmoid was seen
    assert asked(nn.Sequential(nn.Flatten(), Identity1()))[:, 1] == pytest.approx([0, 0.2, 0.8, 1], abs=1e-6)
    logarithms = asked(Fixed(lambda x: torch.log(0.1 + 0.8 * x), 2), output="log_probabilities")
    assert np.exp(logarithms).sum(axis=1) == pytest.approx(np.ones(4), abs=1e-6)


class Identity1(nn.Linear):
    """One output that is its one input."""

    def __init__(self) -> None:
        super().__init__(1, 1, bias=False)
        self.weight.data.fill_(1.0)


def test_impossible_classes_and_double_precision() -> None:
    impossible = Outputs(asked(Fixed(lambda x: torch.cat([x, torch.full_like(x, -torch.inf), 1 - x], 1), 3)), np.array([0, 2, 0, 2]))
    assert impossible.finite and (impossible.logits[:, 1] == np.finfo(np.float32).min).all()
    raw = Outputs(np.where(impossible.logits < -1e30, -np.inf, impossible.logits), impossible.labels)
    for score in (formulas.log_likelihood, formulas.log_odds, formulas.negative_entropy, formulas.negative_modified_entropy):
        assert np.isfinite(score(impossible)).all() and np.array_equal(score(raw), score(impossible))
    without = Outputs(impossible.logits[:, [0, 2]], np.array([0, 1, 0, 1]))
    assert formulas.log_likelihood(impossible) == pytest.approx(formulas.log_likelihood(without), abs=1e-12)
    double = asked(nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).double())
    assert double.dtype == np.float32 and double.shape == (4, 2)
    broken = asked(Fixed(lambda x: torch.cat([x, x * torch.nan], 1), 2))
    assert np.isnan(broken).any()  # stays what it is


def test_a_file_with_an_entry_of_the_catalog() -> None:
    folder = Path(__file__).parents[1] / "catalog" / "builtin" / "digits-regular"
    named, plain = (
        securitynet.load_model(what, **how) for what, how in ((folder, {"entry": "builtin/digits-regular"}), ("builtin/digits-regular", {}))
    )
    assert named.entry.id == plain.entry.id and named.fingerprint == plain.fingerprint
