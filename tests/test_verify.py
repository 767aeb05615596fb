"""The gate: each way of not doing what the publisher claims is found and named; honest models pass."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from torch import nn

from securitynet.data import ArrayImages, ImageSet, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.target import Outputs, Target, build
from securitynet.verify import Verdict, judge, verify

ENTRY = Entry(
    id="test/tones", source="test", name="tones", dataset="tones", num_classes=4, input_size=(3, 6, 6), mean=(0.5,) * 3, std=(0.25,) * 3,
    claimed_accuracy=0.97, output="logits",
)  # fmt: skip
CENTRES = np.array([[200, 100, 50], [180, 60, 160], [50, 60, 60], [120, 200, 40]])


def tones(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose colour is their class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    return np.clip(CENTRES[labels][:, None, None] + rng.normal(0, 30, (n, 6, 6, 3)), 0, 255).astype(np.uint8), labels


class Tones(nn.Module):
    """The nearest centre, in the network's own normalised units."""

    def __init__(self, scale: float = 1.0, reverse: bool = False, order: tuple[int, ...] = (0, 1, 2, 3)) -> None:
        super().__init__()
        centres = torch.tensor(CENTRES[list(order)] / 255 * scale, dtype=torch.float32)
        self.centres = nn.Parameter(
            ((centres - 0.5 * scale) / (0.25 * scale)).flip(1) if reverse else (centres - 0.5 * scale) / (0.25 * scale)
        )
        self.factor = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -torch.cdist(x.mean((2, 3)), self.centres) * 4


def verdict(target: Target, n: int = 400) -> Verdict:
    images = ImageSet("tones", ArrayImages(*tones(n, 0)), ArrayImages(*tones(n, 1)))
    return verify(target, draw(images, Transform.of(target.entry), 4), Accelerator())


def test_an_honest_model_passes_with_its_accuracies() -> None:
    found = verdict(build(ENTRY, Tones()))
    assert (found.status, found.cause) == ("ok", None)
    assert {one.metric for one in found.estimates} == {"train_accuracy", "test_accuracy", "overfit_gap"}
    assert "agrees with the claim" in found.notes[0] or "above the claim" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "network", "words"),
    [
        ({"channel_order": "BGR"}, Tones(), "channel order"),
        ({"channel_order": "RGB"}, Tones(reverse=True), "channel order"),
        ({"scale": 255.0}, Tones(), r"scale \(the network wants 0..1\)"),
        ({"mean": (0.0,) * 3, "std": (1.0,) * 3}, nn.Sequential(nn.BatchNorm2d(3, affine=False, eps=0), Tones()), "scale|normalisation"),
        ({}, Tones(order=(1, 2, 3, 0)), "class permutation.*output 0 is 1"),
        ({"output": "logits"}, nn.Sequential(Tones(), nn.Softmax(1)), "returns probabilities, the entry says logits"),
        ({"output": "probabilities"}, Tones(), "do not sum to one"),
        ({"claimed_accuracy": 0.999}, nn.Sequential(Tones(), nn.Dropout(0.0)), None),
    ],
)
def test_each_fault_is_named(change: dict[str, object], network: nn.Module, words: str | None) -> None:
    if isinstance(network, nn.Sequential) and isinstance(network[0], nn.BatchNorm2d):  # this one wants 0..255 and normalises by itself
        network[0].running_mean = torch.full((3,), 127.5)
        network[0].running_var = torch.full((3,), 63.75**2)
    found = verdict(build(replace(ENTRY, **change), network))  # type: ignore[arg-type]
    if words is None:
        assert found.status == "ok"
    else:
        assert found.status == "suspect" and found.cause is not None
        assert re.search(words, found.cause), found.cause


def test_constant_and_not_finite() -> None:
    constant = nn.Sequential(Tones(), nn.Linear(4, 4))
    with torch.no_grad():
        constant[1].weight.zero_()  # type: ignore[operator,union-attr]
        constant[1].bias.copy_(torch.tensor([0.0, 0, 5, 0]))  # type: ignore[operator,union-attr]
    assert "constant predictor: class 2" in str(verdict(build(ENTRY, constant)).cause)
    broken = Tones()
    with torch.no_grad():
        broken.centres[0, 0] = float("nan")
    assert "not finite" in str(verdict(build(ENTRY, broken)).cause)


def answers(correct: int, n: int, classes: int = 10) -> Outputs:
    """`correct` of n right, the errors spread evenly: no permutation helps."""
    labels = np.arange(n) % classes
    predictions = np.where(np.arange(n) < correct, labels, (labels + 1 + np.arange(n) % (classes - 1)) % classes)
    return Outputs(np.eye(classes, dtype=np.float32)[predictions] * 5 - 1, labels)


@pytest.mark.parametrize(("claim", "n"), [(0.9173, 1000), (0.9, 10_000), (0.5, 200), (0.75, 50_000)])
def test_the_claim_fails_exactly_beyond_the_stated_bound(claim: float, n: int) -> None:
    entry = replace(ENTRY, claimed_accuracy=claim, num_classes=10)
    slack = max(0.005, claim - stats.binom.ppf(0.001, n, claim) / n)
    lowest = int(np.ceil((claim - slack) * n - 1e-9))
    shuffled = np.random.default_rng(0).permutation(n)

    def cause(correct: int) -> str | None:
        plain = answers(correct, n)
        return judge(entry, Outputs(plain.logits[shuffled], plain.labels[shuffled]))[0]

    assert cause(lowest) is None
    assert "below the claim" in str(cause(lowest - 1))


def test_no_claim_is_ok_and_says_so() -> None:
    assert judge(replace(ENTRY, claimed_accuracy=None, num_classes=10), answers(500, 1000)) == (
        None, ["the publisher claims no accuracy: nothing to compare with"],
    )  # fmt: skip


def test_a_weak_honest_model_is_not_called_permuted() -> None:
    """Random guessing, 200 seeds: the held-out half keeps the best permutation from looking better."""
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        outputs = Outputs(rng.normal(size=(300, 10)).astype(np.float32), rng.integers(0, 10, 300))
        alarms += judge(replace(ENTRY, claimed_accuracy=None), outputs)[0] is not None
    assert alarms <= 2


def test_verifying_leaves_the_model_as_it_was() -> None:
    target = build(replace(ENTRY, channel_order="BGR"), nn.Sequential(nn.BatchNorm2d(3), Tones()))
    before = {name: tensor.clone() for name, tensor in target.module.state_dict().items()}
    verdict(target)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.module.state_dict().items())
