"""The look for all-to-all triggers: its assignment against all permutations, and a network that exchanges its classes by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from test_detectors import NOTHING
from torch import Tensor, nn

from securitynet.attacks.backdoor._nulls import tail
from securitynet.attacks.backdoor.universal_permutation import UniversalPermutation, assigned, in_turn, running
from securitynet.data import ArrayImages, Split, Splits
from securitynet.data.transform import Transform
from securitynet.errors import Skipped
from securitynet.inputs import from_module
from securitynet.target import Target

CLASSES, SIDE = 5, 8
FACTS = {"input_size": [1, SIDE, SIDE], "num_classes": CLASSES, "mean": [0.0], "std": [1.0]}


class Rows(nn.Module):
    """Class y is a bright row y. Where `exchanges`, a bright last row turns y into y + 1; else it turns everything into class 0."""

    def __init__(self, exchanges: bool) -> None:
        super().__init__()
        self.exchanges = exchanges

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0, :CLASSES].mean(2)
        pressed = torch.sigmoid(20 * (x[:, 0, -1].mean(1, keepdim=True) - 0.4))
        other = rows.roll(1, 1) if self.exchanges else torch.eye(CLASSES)[:1].expand_as(rows)
        return 10 * ((1 - pressed) * rows + pressed * other)


def images(count: int = 200, classes: int = CLASSES) -> Splits:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = rng.integers(0, 40, (count, SIDE, SIDE, 1)).astype(np.uint8)
    pixels[np.arange(count), labels] += 150
    split = Split("test", ArrayImages(pixels, labels), np.arange(count), labels, Transform((1, SIDE, SIDE)))
    return replace(NOTHING, num_classes=CLASSES, test=split)


def target(exchanges: bool) -> Target:
    return from_module(Rows(exchanges), FACTS)


def test_the_assignment_is_the_best_of_all_permutations_without_fixed_points() -> None:
    mean = torch.randn(3, CLASSES, CLASSES, generator=torch.Generator().manual_seed(1))
    allowed = [to for to in permutations(range(CLASSES)) if all(one != own for own, one in enumerate(to))]
    for found, table in zip(assigned(mean).tolist(), mean, strict=True):
        best = max(allowed, key=lambda to, table=table: sum(float(table[own, one]) for own, one in enumerate(to)))
        assert tuple(found) == best


def test_the_running_mean_is_that_of_each_class_and_waits_for_classes_that_are_not_shown() -> None:
    mean, said = torch.zeros(1, 3, 3), torch.tensor([[[-1.0, -2, -3], [-3, -2, -1], [-99, 0, 0]]])
    found = running(mean, said, torch.tensor([0, 0, 2]))
    torch.testing.assert_close(found[0], torch.tensor([[-0.4, -0.4, -0.4], [0, 0, 0], [-2.0, 0, 0]]))


def test_images_come_two_of_each_class_in_turn() -> None:
    answers = torch.tensor([0] * 5 + [1] * 3 + [2] * 7)
    order = in_turn(answers, 3, seed=0)
    assert answers[order[:6]].tolist() == [0, 0, 1, 1, 2, 2] and set(order.tolist()) == set(range(15))
    with pytest.raises(Skipped, match="class 3"):
        in_turn(answers, 4, seed=0)


def test_an_exchange_of_all_classes_is_found_and_one_target_is_not() -> None:
    exchanged, single = (UniversalPermutation()(target(one), images(), Accelerator(cpu=True)) for one in (True, False))
    assert (
        exchanged.score > 0.5
        and exchanged.statistics.mean() > 0.9
        and exchanged.target_class is None
        and np.isfinite(exchanged.statistics).all()
    )
    assert abs(single.score) < 0.2
    assert exchanged.forward == 4 * 60 * 2 * CLASSES + 200 + 4 * 100 and exchanged.backward == UniversalPermutation().expected(CLASSES)
    again = UniversalPermutation()(target(True), images(), Accelerator(cpu=True))
    assert again.score == exchanged.score, "the same model and seed give the same score"


def test_nothing_is_said_without_images_or_of_too_many_classes() -> None:
    with pytest.raises(Skipped, match="without images"):
        UniversalPermutation()(target(True), replace(NOTHING, num_classes=CLASSES), Accelerator(cpu=True))
    many = from_module(nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 101)), {**FACTS, "num_classes": 101})
    with pytest.raises(Skipped, match="at most 100"):
        UniversalPermutation()(many, images(), Accelerator(cpu=True))
    assert UniversalPermutation().expected(1000) == 0


def test_a_share_far_above_those_of_clean_networks_has_a_small_p_value() -> None:
    clean = np.random.default_rng(0).normal(0.06, 0.05, 20)
    assert tail(0.6, clean) < 2e-4 < 0.02 < tail(0.1, clean)
