"""Output defences against closed forms; they keep the cache, verify() and the entry's word on the output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from torch import nn

import securitynet
from securitynet.data import ArrayImages, ImageSet, draw
from securitynet.data.transform import Transform
from securitynet.defences import content, label_only, named, noise, rounding, temperature, top_k, uniforms
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.inputs import defended
from securitynet.target import Target, build, query
from securitynet.verify import judge

ENTRY = Entry(id="test/table", num_classes=5, input_size=(1, 2, 2))
PROBABILITIES = torch.tensor(
    [[0.5, 0.25, 0.125, 0.1, 0.025], [0.004, 0.004, 0.99, 0.001, 0.001], [0.2, 0.2, 0.2, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0, 1.0]]
)


class Table(nn.Module):
    """Answers image i, all of whose pixels are i / 255, with the logarithms of line i, plus a constant that means nothing."""

    def __init__(self, probabilities: torch.Tensor = PROBABILITIES) -> None:
        super().__init__()
        self.register_buffer("logs", probabilities.clamp_min(1e-30).log() + 3.0)
        self.asked = 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.asked += len(pixels)
        logs = self.get_buffer("logs")
        return logs[pixels[:, 0, 0, 0].mul(255).round().long() % len(logs)]


def images(count: int = 4) -> torch.Tensor:
    return (torch.arange(count).view(-1, 1, 1, 1) / 255).expand(-1, 1, 2, 2)


def answers(defence: Any, probabilities: torch.Tensor = PROBABILITIES) -> np.ndarray:
    """The probabilities that the defended table answers."""
    target = defended(build(ENTRY, Table(probabilities)), defence)
    logits = target.module(images(len(probabilities))).double()
    assert torch.isfinite(logits).all() and torch.allclose(logits.logsumexp(1), torch.zeros(len(logits), dtype=torch.float64), atol=1e-6)
    return logits.exp().numpy()


def test_rounding_is_numpys_and_what_is_zero_stays_zero() -> None:
    for digits in (1, 2, 3):
        rounded = np.round(PROBABILITIES.numpy(), digits)
        expected = rounded / rounded.sum(axis=1, keepdims=True)
        assert np.allclose(answers(rounding(digits)), expected, atol=1e-6)
    assert (answers(rounding(1)) < 1e-30).sum() == (np.round(PROBABILITIES.numpy(), 1) == 0).sum()
    flat = torch.full((1, 5), 0.2)
    assert np.allclose(answers(rounding(0), flat), 0.2)  # all zero: nothing is said


def test_top_k_and_label_only() -> None:
    ordered = np.sort(PROBABILITIES.numpy(), axis=1)[:, ::-1]
    for k in (1, 2, 3, 4, 5, 9):
        expected = ordered.copy()
        expected[:, k:] = ordered[:, k:].mean(axis=1, keepdims=True) if k < 5 else 0
        found = answers(top_k(k))
        assert np.allclose(np.sort(found, axis=1)[:, ::-1], expected, atol=1e-6)
        assert np.array_equal(found.argmax(axis=1), PROBABILITIES.argmax(1))
    assert np.allclose(answers(label_only()), np.eye(5)[PROBABILITIES.argmax(1)], atol=1e-6)


def test_temperature_is_a_power() -> None:
    p = PROBABILITIES.clamp_min(1e-30).double().numpy()
    for value in (0.5, 1.0, 2.0, 4.0):
        power = p ** (1 / value)
        assert np.allclose(answers(temperature(value)), power / power.sum(axis=1, keepdims=True), atol=1e-5)


def test_noise_stays_within_its_budget_and_depends_on_the_image_alone() -> None:
    table = torch.rand(200, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    for budget in (0.0, 0.05, 0.3, 1.0):
        distance = np.abs(answers(noise(budget), table) - table.numpy()).sum(axis=1) / 2
        assert distance.max() <= budget + 1e-6 and (distance.mean() > budget / 20)
    target = noise(0.3)(build(ENTRY, Table(table)))
    together = target.module(images(200))
    one_by_one = torch.cat([target.module(image[None]) for image in images(200).flip(0)]).flip(0)
    assert torch.allclose(together, one_by_one, atol=1e-6)
    nearly = images(200) + 0.4 / 255
    assert torch.equal(content(nearly), content(images(200))) and torch.allclose(target.module(nearly), together)
    other = noise(0.3, seed=1)(build(ENTRY, Table(table))).module(images(200))
    assert not torch.allclose(other, together, atol=1e-3)


def test_the_noise_is_uniform_over_the_simplex() -> None:
    numbers = content(torch.rand(4000, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert len(numbers.unique()) == 4000
    drawn = uniforms(numbers, 3).numpy()
    assert all(stats.kstest(drawn[:, column], "uniform").pvalue > 1e-3 for column in range(3))
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.06
    share = answers(noise(1.0), torch.full((256, 5), 0.2))[:, 0]
    assert stats.kstest(share, stats.beta(1, 4).cdf).pvalue > 1e-3  # a coordinate of a flat Dirichlet distribution


def test_splitmix64_gives_its_published_numbers() -> None:
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]  # seed 1234567, first three
    assert [int(value * 2**23 - 0.5) for value in uniforms(torch.tensor([1234567]), 3)[0].double()] == [value >> 41 for value in expected]


def test_names_and_their_errors() -> None:
    plain = build(ENTRY, Table())
    ids = [defended(plain, text).entry.id for text in ("rounding", "rounding:3", "top-k:2", "label-only", "temperature:1.5", "noise:0.2:7")]
    assert ids == [f"test/table+{name}" for name in ("rounding:2", "rounding:3", "top-k:2", "label-only", "temperature:1.5", "noise:0.2:7")]
    assert defended(plain, rounding(3)).entry.id == "test/table+rounding:3"
    wrong = {
        "round:2": "did you mean rounding",
        "rounding:2.5": "not a whole number",
        "noise:lots": "not a number",
        "label-only:1": "takes no numbers",
        "top-k:0": "between 1 and inf",
        "temperature:nan": "between",
        "noise:1.5": "between 0 and 1",
    }
    for text, message in wrong.items():
        with pytest.raises(UsageError, match=message):
            named(text)


@pytest.mark.parametrize("output", ["logits", "probabilities", "log_probabilities"])
def test_a_defended_target_is_another_model_that_is_asked_once_and_verified(output: str) -> None:
    probabilities = torch.rand(200, 5, generator=torch.Generator().manual_seed(1)).pow(4)
    table = Table(probabilities / probabilities.sum(1, keepdim=True))
    if output != "logits":
        table.logs -= 3.0
    network = nn.Sequential(table, nn.Softmax(1)) if output == "probabilities" else table
    plain = build(Entry(id="test/table", num_classes=5, input_size=(1, 2, 2), output=output), network)
    pixels = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 2, 2))
    labels = probabilities.argmax(1).numpy()
    part = ArrayImages(np.ascontiguousarray(pixels), labels)
    splits = draw(ImageSet("table", part, part), Transform((1, 2, 2)), 5, samples=None)
    assert splits.test is not None
    fingerprints = {plain.fingerprint}
    for text in ("rounding:2", "rounding:1", "top-k:2", "label-only", "temperature:3", "noise:0.02", "noise:0.02:1"):
        target = defended(plain, text)
        first = query(target, splits.test, Accelerator())
        before = table.asked
        assert np.array_equal(query(target, splits.test, Accelerator()).logits, first.logits) and table.asked == before
        cause, _ = judge(target.entry, first)
        assert cause is None
        fingerprints.add(target.fingerprint)
    assert len(fingerprints) == 8


def test_attack_against_defence_is_one_loop(tmp_path: Path) -> None:
    attacks, model = ["membership/loss", "membership/correctness"], "builtin/digits-overfit"
    table = {}
    for defences in ([], ["label-only"], ["temperature:3", "rounding:1"]):
        result = securitynet.evaluate(model, attacks=attacks, defences=defences, samples=100, cache_dir=tmp_path)
        assert result.entry.id == "+".join([model, *defences]) and result.verdict.status == "ok"
        table[result.entry.id] = [result.value(attack, "auc") or 0 for attack in attacks]
    plain, hard = table[model], table[f"{model}+label-only"]
    assert len(table) == 3 and plain[0] > hard[0] == hard[1] == plain[1]  # of labels alone the loss says what correctness says


def test_defences_compose_in_their_order() -> None:
    target: Target = build(ENTRY, Table())
    both = label_only()(rounding(0)(target)).module(images()).exp()
    assert np.allclose(both, np.eye(5)[np.round(PROBABILITIES.numpy()).argmax(axis=1)])
    assert defended(defended(target, "rounding:0"), "label-only").entry.id == "test/table+rounding:0+label-only"
