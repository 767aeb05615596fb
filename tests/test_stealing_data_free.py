"""Data-free stealing: gradients from values in closed form, queries counted to the last image, nothing asked twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from torch import nn

from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing._generator import Generator, disagreement, forward_differences
from securitynet.attacks.stealing.adaptive import Adaptive
from securitynet.attacks.stealing.data_free import DataFree, Memory, Oracle
from securitynet.attacks.stealing.disagreement import Disagreement
from securitynet.attacks.stealing.jacobian import Jacobian
from securitynet.attacks.stealing.k_center import KCenter
from securitynet.attacks.stealing.uncertainty import Uncertainty
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.transform import Transform
from securitynet.defences import content as content_of
from securitynet.defences import uniforms
from securitynet.entry import Entry
from securitynet.errors import Skipped, UsageError
from securitynet.target import Target, build
from securitynet.training import Recipe

ENTRY = Entry(id="test/made-up", num_classes=4, input_size=(1, 8, 8))
TINY = '{"channels": [8, 8, 8, 8], "stem_width": 4, "in_chans": 1}'
RECIPE = Recipe(epochs=1, batch_size=32, learning_rate=0.05)
QUICK = Settings(surrogate="timm:resnet10t", surrogate_args=TINY, recipe=RECIPE, least_steps=2, transfer=None)
SMALL = DataFree(budget=150, batch=16, steps=2, directions=2, latent=8, width=4, replay=1, settings=QUICK)


class Counting(nn.Module):
    """Answers by `answer`, and counts the images that it is asked about."""

    def __init__(self, answer: nn.Module) -> None:
        super().__init__()
        self.answer, self._asked = answer, 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self._asked += len(pixels)
        return self.answer(pixels)


class Linear(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        weight = scale * torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weight - weight.mean(1, keepdim=True))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1) @ self.weight.T


class Constant(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.0, 5.0, 0.0, 0.0]).expand(len(pixels), -1)


class Random(nn.Module):
    """A class per image that nothing about the image explains."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return 5 * nn.functional.one_hot((uniforms(content_of(pixels), 1)[:, 0] * 4).long(), 4).float()


def case(answer: nn.Module, folder: Path | None = None, n: int = 60) -> tuple[Target, Splits, Counting]:
    network = Counting(answer)
    pixels = np.random.default_rng(0).integers(0, 256, (2 * n, 8, 8), dtype=np.uint8)
    labels = network(torch.from_numpy(pixels)[:, None].float() / 255).argmax(1).numpy()
    images = ImageSet("noise", ArrayImages(pixels[:n], labels[:n]), ArrayImages(pixels[n:], labels[n:]))
    target = replace(build(ENTRY, network), cache=ArrayCache(folder))
    return target, draw(images, Transform.of(ENTRY), 4, samples=None), network


def test_forward_differences_estimate_the_gradient_with_exactly_n_times_m_plus_one_values() -> None:
    random, calls = torch.Generator().manual_seed(0), []
    points = torch.randn(3, 2, 3, generator=random, dtype=torch.float64)
    weight = torch.randn(2, 3, generator=random, dtype=torch.float64)

    def value(at: torch.Tensor) -> torch.Tensor:
        calls.append(len(at))
        return (weight * at).sum(dim=(1, 2)) + at.square().sum(dim=(1, 2)) / 2

    found = forward_differences(value, points, 20000, 1e-4, random)
    assert calls == [3 * 20001] and torch.allclose(found, weight + points, atol=0.12)
    forward_differences(value, points, 1, 1e-4, random)
    assert calls[-1] == 6


def test_disagreement_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), 40), rng.dirichlet(np.ones(5), 40)
    logs, logits = torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q) + rng.normal(size=(40, 1)))
    assert np.allclose(disagreement(logits, logs, "kl").numpy(), stats.entropy(p, q, axis=1))
    target_logits = rng.normal(size=(40, 5))
    target_logits -= target_logits.mean(axis=1, keepdims=True)
    told = torch.from_numpy(target_logits).log_softmax(1)
    assert np.allclose(disagreement(logits, told, "l1").numpy(), np.abs(logits.numpy() - target_logits).mean(axis=1))
    assert disagreement(torch.from_numpy(target_logits), told, "l1").abs().max() < 1e-12


def test_a_generator_makes_images_of_any_size() -> None:
    for size in ((1, 28, 28), (3, 32, 32), (1, 9, 14)):
        assert Generator(5, size, 4)(torch.randn(3, 5)).shape == (3, *size)


def test_the_memory_keeps_the_latest_answers() -> None:
    memory, random = Memory(10, (1, 2, 2), 3), torch.Generator().manual_seed(0)
    for start in (0, 6, 12):
        numbers = torch.arange(start, start + 6).float()
        memory.add(numbers.view(-1, 1, 1, 1).expand(-1, 1, 2, 2) / 32, numbers[:, None].expand(-1, 3))
    pixels, told = memory.draw(500, random)
    assert sorted(set(told[:, 0].tolist())) == list(range(8, 18)) and torch.equal(pixels[:, 0, 0, 0] * 32, told[:, 0])


@pytest.mark.parametrize("budget", [2, 17, 131, 150])
def test_the_budget_is_spent_to_the_last_image(budget: int) -> None:
    target, splits, network = case(Linear())
    before = network._asked
    evidence = replace(SMALL, budget=budget)(target, splits, Accelerator())
    evaluated = 64 + 2  # the 60 images of the evaluation in one full batch, and two blank images that try the layout
    assert evidence.queries == budget == network._asked - before - evaluated
    assert evidence.copies[0].budget == budget and evidence.copies[0].controls is None


def test_every_repeat_has_its_own_queries() -> None:
    target, splits, _ = case(Linear())
    evidence = replace(SMALL, settings=replace(QUICK, repeats=2))(target, splits, Accelerator())
    assert evidence.queries == 300 and evidence.copies[0].logits.shape[0] == 2
    assert not np.array_equal(*evidence.copies[0].logits)
    # of 150: 48 for the generator, 32 for the copy, 48 for the generator, the last 22 for the copy; 16 again in both rounds
    assert evidence.copies[0].images_seen == 54 + 32


def test_an_interrupted_run_asks_only_what_it_had_not_asked(tmp_path: Path) -> None:
    target, splits, network = case(Linear(), tmp_path / "whole")
    whole = SMALL(target, splits, Accelerator())
    before = network._asked
    again = SMALL(replace(target, cache=ArrayCache(tmp_path / "whole")), splits, Accelerator())
    assert network._asked == before and np.array_equal(whole.copies[0].logits, again.copies[0].logits) and again.queries == 150

    cut, splits, network = case(Linear(), tmp_path / "cut")
    ask, calls = Oracle._ask, []

    def killed(self: Oracle, pixels: torch.Tensor) -> torch.Tensor:
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return ask(self, pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Oracle, "_ask", killed)
        with pytest.raises(KeyboardInterrupt):
            SMALL(cut, splits, Accelerator())
    before = network._asked
    resumed = SMALL(replace(cut, cache=ArrayCache(tmp_path / "cut")), splits, Accelerator())
    assert network._asked - before == 150 - sum(calls[:2]) and resumed.queries == 150
    assert np.array_equal(resumed.copies[0].logits, whole.copies[0].logits)


@pytest.mark.parametrize("loss", ["l1", "kl"])
def test_a_copy_learns_without_data(loss: str) -> None:
    target, splits, _ = case(Linear(2.0), n=200)
    small = replace(QUICK, surrogate="nets:tinyvgg", surrogate_args='{"size": 8, "in_channels": 1}')
    attack = DataFree(budget=8000, batch=32, latent=16, width=8, replay=20, loss=loss, settings=small)
    found = {one.metric: one for one in attack(target, splits, Accelerator()).metrics()}
    assert found["control_agreement"].value is None and "no true labels" in (found["control_agreement"].reason or "")
    assert (found["excess_agreement"].value or 0) > 0.08 and (found["excess_agreement"].ci_low or 0) > 0


@pytest.mark.parametrize("attack", [Uncertainty, KCenter, Adaptive, Jacobian, DataFree])
@pytest.mark.parametrize("answer", [Constant, Random])
def test_what_cannot_be_stolen_is_not(attack: Any, answer: type[nn.Module]) -> None:
    target, splits, _ = case(answer())
    fields: dict[str, Any] = {"budgets": (20, 40)} if attack in (Uncertainty, KCenter, Adaptive) else {"seeds": 10, "rounds": 1}
    made = replace(SMALL, budget=100) if attack is DataFree else attack(settings=QUICK, **fields)
    found = {one.metric: one for one in made(target, splits, Accelerator()).metrics()}
    excess = found["excess_agreement"]
    assert excess.value is not None and (excess.ci_low or 0) <= 0 and (answer is not Constant or excess.value <= 0)
    if answer is Random:
        assert (found["agreement"].ci_low or 0) <= 0.25 + 0.1


def test_data_free_says_where_it_does_not_apply() -> None:
    target, splits, _ = case(Linear())
    large = replace(target, entry=replace(ENTRY, input_size=(1, 96, 80)))
    with pytest.raises(Skipped, match="at most 64 x 64 pixels, these have 96 x 80"):
        DataFree()(large, splits, Accelerator())
    for wrong in (lambda: DataFree(loss="l2"), lambda: DataFree(settings=Settings(answers="labels")), lambda: DataFree(directions=0)):
        with pytest.raises(UsageError):
            wrong()


class EightBits(nn.Module):
    """Refuses images that are not of 8 bits, returns labels."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        assert torch.allclose(pixels * 255, (pixels * 255).round(), atol=1e-3), "no served model takes these"
        return 9 * nn.functional.one_hot(Linear(2.0)(pixels).argmax(1), 4).float()


def test_labels_of_8_bit_images_are_enough() -> None:
    target, splits, network = case(EightBits(), n=200)
    settings = replace(QUICK, surrogate="nets:tinyvgg", surrogate_args='{"size": 8, "in_channels": 1}', answers="labels")
    attack = Disagreement(budget=6000, batch=64, latent=16, width=8, replay=6, settings=settings)
    before = network._asked
    evidence = attack(target, splits, Accelerator())
    found = {one.metric: one for one in evidence.metrics()}
    assert evidence.queries == 6000 and network._asked - before >= 6000
    assert (found["excess_agreement"].value or 0) > 0.05 and (found["excess_agreement"].ci_low or 0) > 0
    assert "pool_agreement" not in found, "who has no images owns no labels"
    with pytest.raises(UsageError, match="learns labels or probabilities"):
        Disagreement(settings=Settings(answers="top-3"))
