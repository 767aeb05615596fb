"""Neural Cleanse finds what was planted, leaves the model as it was, and says why where it cannot search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from accelerate import Accelerator
from planted import planted
from torch import Tensor, nn

import securitynet
from securitynet.attacks.backdoor._inversion import InversionSettings, recover
from securitynet.attacks.backdoor._inversion.search import untouched
from securitynet.attacks.backdoor.neural_cleanse import NeuralCleanse
from securitynet.cache import ArrayCache
from securitynet.data import Splits, draw
from securitynet.data.digits import image_set
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import LoadError, Skipped, UsageError
from securitynet.fingerprint import state_sha256
from securitynet.target import Target, build

QUICK = InversionSettings(steps=60, images=32)
FEW = InversionSettings(steps=4, updates=1, batch_size=4, images=8)


@pytest.fixture(scope="module")
def cpu() -> Accelerator:
    return Accelerator(cpu=True)


def digits(name: str) -> tuple[Target, Splits]:
    target = securitynet.load_model(f"builtin/{name}")
    return target, draw(image_set(target.entry, target.folder), Transform.of(target.entry), 10, samples=None)


@pytest.mark.parametrize("exhaustive", [False, True])
def test_a_planted_shortcut(cpu: Accelerator, exhaustive: bool) -> None:
    settings = replace(QUICK, exhaustive=exhaustive)
    planted_one = NeuralCleanse(settings)(*planted(), cpu)
    clean = NeuralCleanse(settings)(*planted(shortcut=None), cpu)
    assert planted_one.target_class == 4 and planted_one.score > 1 > clean.score + 0.2
    (best, *_) = planted_one.recovered
    assert best.target_class == 4 and best.n > 10 and best.successes >= 0.8 * best.n
    assert float(best.mask[:, -2:, -2:].sum()) > 0.8 * float(best.mask.sum()), "the trigger lies where the shortcut is"
    assert (len(planted_one.recovered) == 6) is exhaustive and planted_one.queries > planted_one.backward


def test_the_backdoored_digits(cpu: Accelerator) -> None:
    """The built-in model with a checkerboard in the corner that means 7; abandoned classes cost less than a carried one."""
    target, splits = digits("digits-badnets")
    before, modes = state_sha256(target.module), [part.training for part in target.module.modules()]
    found = NeuralCleanse(InversionSettings(steps=160, updates=3, images=128))(target, splits, cpu)
    assert found.target_class == target.entry.backdoor_target == 7 and found.score > 1
    assert state_sha256(target.module) == before and [part.training for part in target.module.modules()] == modes
    assert not any(parameter.requires_grad for parameter in target.module.parameters())
    mask = found.recovered[0].mask
    assert float(mask.sum()) < 16, "not larger than the checkerboard of 4 x 4; where it lies, a convolutional network leaves open"
    values = {one.metric: one.value for one in found.metrics()}
    assert values["mask_l1"] == pytest.approx(float(mask.sum())) and values["trigger_success"] > 0.75  # type: ignore[operator]


def test_a_search_goes_on_where_it_stopped(cpu: Accelerator, tmp_path: Path) -> None:
    """Killed in the second rung, it asks for no step of the first again, finds the same, and leaves nothing behind."""
    target, splits = planted()
    whole = recover(target, splits, cpu, QUICK)
    target = replace(target, cache=ArrayCache(tmp_path / "outputs"))
    answered, limit = [0], 64 + 2 * 48 + 48 * 20 * 4 + 20  # sample, estimate, first rung, and a little

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        answered[0] += len(output)
        if answered[0] > limit:
            raise KeyboardInterrupt

    hook = target.module.register_forward_hook(count)
    with pytest.raises(KeyboardInterrupt):
        recover(target, splits, cpu, QUICK)
    assert list((tmp_path / "inversion").rglob("*.safetensors"))
    hook.remove()
    answered[0], limit = 0, 10**9
    target.module.register_forward_hook(count)
    again = recover(target, splits, cpu, QUICK)
    assert answered[0] == whole.query_count - 48 * 20 * 4 - 64, "all but the first rung, and the sample, whose answers are cached"
    assert again.sizes.tolist() == whole.sizes.tolist() and again.query_count == whole.query_count
    assert not list((tmp_path / "inversion").rglob("*.safetensors"))


def test_a_budget(cpu: Accelerator) -> None:
    target, splits = planted((1, 4, 4), 1000)
    found = NeuralCleanse(replace(FEW, budget=1, batch_size=512))(target, splits, cpu)
    assert found.remark is not None and "the budget was used up before" in found.remark and found.target_class is not None


@pytest.mark.parametrize(("size", "classes"), [((1, 8, 8), 2), ((3, 6, 10), 3), ((1, 4, 4), 1000)])
def test_sizes_and_numbers_of_classes(cpu: Accelerator, size: tuple[int, ...], classes: int) -> None:
    found = NeuralCleanse(FEW)(*planted(size, classes, 1), cpu)
    assert found.statistics.shape == (classes,) and found.recovered[0].mask.shape == (1, *size[1:])
    assert found.recovered[0].pattern.shape == size and (classes > 2 or found.anomaly_index is None)


def test_a_transformer(cpu: Accelerator) -> None:
    arguments = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 6}
    network = timm.create_model("vit_tiny_patch16_224", **arguments)
    entry = Entry(id="test/vit", num_classes=6, input_size=(3, 16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert NeuralCleanse(FEW)(build(entry, network), planted((3, 16, 16))[1], cpu).recovered


def test_without_images(cpu: Accelerator) -> None:
    target, splits = planted(shortcut=None)
    found = NeuralCleanse(FEW)(target, replace(splits, test=None, non_members=None), cpu)
    assert found.target_class is not None and found.remark is not None and "no images" in found.remark


def test_probabilities_are_said(cpu: Accelerator) -> None:
    target, splits = planted()
    softmax = nn.Sequential(target.module[1], nn.Softmax(1))  # type: ignore[index]
    found = NeuralCleanse(FEW)(build(replace(target.entry, output="probabilities"), softmax), splits, cpu)
    assert found.remark is not None and "gradient vanishes" in found.remark and found.target_class is not None


def test_what_cannot_be_searched(cpu: Accelerator) -> None:
    target, splits = planted()
    with pytest.raises(UsageError, match="0 to 5"):
        recover(target, splits, cpu, FEW, [3, 6])
    with pytest.raises(UsageError, match="at least 1"):
        InversionSettings(steps=0)
    constant = target.wrap(lambda module: nn.Sequential(module, Constant()))
    with pytest.raises(Skipped, match="every available image"):
        recover(constant, splits, cpu, FEW, [5])
    assert "not tried: class 5" in str(recover(constant, splits, cpu, FEW).remark)
    volume = replace(target, entry=replace(target.entry, input_size=(1, 4, 4, 4)))
    with pytest.raises(Skipped, match="none can be made up"):
        recover(volume, replace(splits, test=None, non_members=None), cpu, FEW)


class Constant(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits * 0 + torch.arange(logits.shape[1])


class Restless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x


def test_statistics_stay_as_they_were() -> None:
    """Within the block the model is in eval mode, whatever it was; a network that changes nevertheless is an error."""
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()).train()
    before = network[0].running_mean.clone()  # type: ignore[union-attr, operator]
    with untouched(network):
        network(torch.rand(4, 2, 3, 3))
        assert not network[0].training
    assert network[0].training and torch.equal(network[0].running_mean, before)  # type: ignore[arg-type]
    with pytest.raises(LoadError, match="changes its own statistics"), untouched(restless := Restless()):
        restless(torch.rand(1))
