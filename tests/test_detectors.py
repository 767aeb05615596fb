"""The detectors of backdoors: closed forms, planted models, and what holds for all of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy.stats import gamma
from torch import nn

from securitynet.attacks.backdoor._clean import fields
from securitynet.attacks.backdoor._outliers import order_statistic_p, standardised_gap
from securitynet.attacks.backdoor.last_layer import LastLayer, leads
from securitynet.attacks.backdoor.maximum_margin import MaximumMargin
from securitynet.attacks.backdoor.mm_bd import MmBd
from securitynet.attacks.backdoor.neo import Neo
from securitynet.attacks.backdoor.strip import Strip
from securitynet.attacks.backdoor.universal_perturbation import UniversalPerturbation
from securitynet.attacks.protocols import Attack
from securitynet.attacks.resolve import resolve
from securitynet.catalog import entry
from securitynet.data import Splits, draw
from securitynet.data.digits import image_set
from securitynet.data.transform import Transform
from securitynet.download import Files
from securitynet.errors import Skipped
from securitynet.inputs import from_module
from securitynet.loaders import load
from securitynet.target import Target

NOTHING = Splits("none", None, 0, "unknown", 10, None, None, None, None, missing="no images available")
QUICK: tuple[Attack, ...] = (
    MmBd(starts=2, steps=4),
    MaximumMargin(starts=2, steps=4),
    UniversalPerturbation(images=4, steps=30, change=0.25),
    LastLayer(),
    Strip(images=4, starts=2, steps=4),
    Neo(images=4, starts=2, steps=4),
)


@cache
def planted(name: str) -> tuple[Target, Splits]:
    target = load(entry(f"builtin/{name}"), Files(Path("nowhere"), offline=True))
    return target, draw(image_set(target.entry, target.folder), Transform.of(target.entry), 10)


def linear(classes: int, shape: tuple[int, ...] = (1, 4, 6), **facts: object) -> Target:
    """A linear network of random weights on images of `shape`."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))
    return from_module(module, {"input_size": list(shape), "num_classes": classes, "mean": [0.5] * shape[0], "std": [1.0], **facts})


def test_order_statistic_by_its_definition() -> None:
    values = np.array([3.0, 4.5, 2.2, 8.0, 3.7, 5.1, 4.0, 2.9, 3.3, 4.2])
    others = np.delete(values, 3)
    shape, start, scale = gamma.fit(others)
    expected = 1 - gamma.cdf(8.0, shape, start, scale) ** 10
    assert order_statistic_p(values) == pytest.approx(expected, abs=1e-12)
    assert 0 < order_statistic_p(np.where(values == 8.0, 19.0, values)) < 1e-60  # type: ignore[operator]
    assert order_statistic_p(np.array([1.0, 2.0, 3.0])) is None


def test_gap() -> None:
    assert standardised_gap(np.array([1.0, 2.0, 3.0, 10.0])) == pytest.approx(8.0)
    assert standardised_gap(np.array([1.0, np.nan, 2.0, 3.0, 10.0])) == pytest.approx(8.0)
    assert standardised_gap(np.array([1.0, 2.0, 3.0, 10.0]), floor=1.0) == pytest.approx(4.0)
    assert standardised_gap(np.array([1.0, 4.0])) == 3.0
    with pytest.raises(Skipped):
        standardised_gap(np.array([1.0, np.nan]))


def test_largest_margin_of_a_linear_network() -> None:
    """Over [0,1] the margin over one rival is largest at the pixels with a positive difference of weights."""
    target = linear(2, mean=[0.0], std=[1.0])
    layer = target.module[1][1]
    difference = (layer.weight[1] - layer.weight[0]).detach()
    bias = (layer.bias[1] - layer.bias[0]).item()
    expected = [(-difference).clamp_min(0).sum().item() - bias, difference.clamp_min(0).sum().item() + bias]
    for attack in (MmBd(starts=2, steps=300, rate=10.0), MaximumMargin(starts=2, steps=60)):
        found = attack(target, NOTHING, Accelerator(cpu=True))
        assert found.statistics == pytest.approx(expected, rel=1e-2)


def test_smallest_universal_perturbation_of_a_linear_network() -> None:
    """Two classes: the least perturbation that crosses the boundary for the wanted share of images lies along the weights."""
    target = linear(2, (1, 8, 8), mean=[0.0], std=[1.0])
    layer = target.module[1][1]
    torch.nn.init.normal_(layer.weight, std=0.2)
    torch.nn.init.zeros_(layer.bias)
    splits = NOTHING
    found = UniversalPerturbation(images=16, steps=120, change=0.05)(target, splits, Accelerator(cpu=True))
    pixels = fields((1, 8, 8), 256, 0).flatten(1)
    difference = (layer.weight[1] - layer.weight[0]).detach()
    lengths = (pixels @ difference) / difference.norm()
    for one, signed in ((0, lengths[lengths > 0]), (1, -lengths[lengths < 0])):
        least = float(signed.quantile(0.8)) / 8  # root mean square over 64 pixels, were there no edges at 0 and 1
        assert 0.5 * least < np.exp(-found.statistics[one]) < 2 * least


def test_leads_by_loops() -> None:
    weights = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = [
        sum(max(0.0, float(weights[t, u] - max(weights[j, u] for j in range(5) if j != t))) ** 2 for u in range(7)) ** 0.5 for t in range(5)
    ]
    assert leads(weights).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("name", "truth"), [("digits-badnets", 7), ("digits-blended", 3)])
@pytest.mark.parametrize("attack", [MaximumMargin(), UniversalPerturbation(steps=30)])
def test_planted_target_comes_first(name: str, truth: int, attack: Attack) -> None:
    """W13: no detector is told the class; the planted model scores above its clean twin."""
    found, twin = (attack(*planted(one), Accelerator(cpu=True)) for one in (name, f"{name}-clean"))
    assert found.target_class == truth  # type: ignore[attr-defined]
    assert found.score > twin.score  # type: ignore[attr-defined]


@pytest.mark.parametrize("attack", QUICK, ids=lambda one: type(one).__name__)
class TestAll:
    """What holds for every detector."""

    def test_the_model_is_not_changed(self, attack: Attack) -> None:
        """W14: eval mode and the statistics of batch norm are as before, and two runs say the same."""
        target, splits = planted("digits-badnets")
        before = {name: value.clone() for name, value in target.module.state_dict().items()}
        first, second = (attack(target, splits, Accelerator(cpu=True)) for _ in range(2))
        assert not any(module.training for module in target.module.modules())
        assert all(torch.equal(value, before[name]) for name, value in target.module.state_dict().items())
        assert all(parameter.grad is None for parameter in target.module.parameters())
        assert first.arrays()["statistics"] == pytest.approx(second.arrays()["statistics"], abs=0, rel=0, nan_ok=True)
        assert first.metrics() == second.metrics()

    @pytest.mark.parametrize(("classes", "shape"), [(2, (1, 8, 12)), (1000, (3, 8, 8)), (5, (3, 12, 8))])
    def test_shapes_and_class_counts(self, attack: Attack, classes: int, shape: tuple[int, ...]) -> None:
        """Without any image, too."""
        found = attack(linear(classes, shape), NOTHING, Accelerator(cpu=True))
        assert len(found.statistics) == classes and np.isfinite(found.score)  # type: ignore[attr-defined]

    def test_probabilities(self, attack: Attack) -> None:
        target = linear(5, (1, 8, 8), output="probabilities")
        module = nn.Sequential(target.module[1], nn.Softmax(1))
        wrapped = from_module(module, {"input_size": [1, 8, 8], "num_classes": 5, "output": "probabilities"})
        assert np.isfinite(attack(wrapped, NOTHING, Accelerator(cpu=True)).score)  # type: ignore[attr-defined]


def test_budget() -> None:
    """Classes beyond the budget have no statistic, and the evidence says so; over few classes a gap says nothing."""
    target = linear(1000, (3, 32, 32))
    found = MmBd(starts=8, steps=2, budget=1)(target, NOTHING, Accelerator(cpu=True))
    done = np.isfinite(found.statistics).sum()
    assert 10 <= done < 1000 and str(found.remark).endswith(f"{done} of 1000 classes within 1 passes")
    assert found.backward == done * 8 * 2
    with pytest.raises(Skipped, match=r"only \d of 1000 classes within 1 passes: too few to compare"):
        MmBd(starts=64, steps=2, budget=1)(target, NOTHING, Accelerator(cpu=True))


def test_softmax_that_saturates_is_said() -> None:
    found = MmBd(starts=2, steps=2)(
        replace(linear(5), entry=replace(linear(5).entry, output="probabilities")), NOTHING, Accelerator(cpu=True)
    )
    assert found.remark is not None and "probabilities" in found.remark


def test_names() -> None:
    assert [type(one).__name__ for one in resolve("backdoor/mm_bd")] == ["MmBd"]
