"""What thieves have: any folder of images, test images only; and copies that are only read back whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.numpy import load_file, save_file
from stolen import FACTS, SMALL, arrays, images, splits_of, target_module, target_of
from torch import nn

import securitynet
from securitynet.attacks.stealing import _pools as pools
from securitynet.attacks.stealing._copier import Copier
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.cache import ArrayCache
from securitynet.data import ImageSet
from securitynet.errors import Missing, Skipped
from securitynet.training import Recipe, train

ATTACK = Knockoff(budgets=(20, 60), settings=SMALL)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return target_module()


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.mark.parametrize("form", ["flat", "by class", "deep"])
def test_any_folder_of_images_will_do(module: nn.Module, tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / {"flat": ".", "by class": f"class-{number % 2}", "deep": f"a/b{number % 3}/c"}[form]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    splits = splits_of(target_of(module))
    pool = pools.pool_of(str(tmp_path), splits, 1000)
    assert len(pool) == 24 and not pool.labelled and pool.pixels(np.arange(3)).shape == (3, 1, 8, 8)
    fewer = pools.pool_of(str(tmp_path), splits, 10)
    assert len(fewer) == 10
    attack = replace(ATTACK, settings=replace(SMALL, pool=str(tmp_path)), budgets=(10, 20))
    assert attack(target_of(module), splits, Accelerator(cpu=True)).queries == 20


def test_where_none_are_here_it_is_said_and_tried_again(module: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), str(tmp_path / "nowhere"), "SVHN-of-nobody"):
        with pytest.raises(Missing, match=r"name a folder, a file or a Hub id in settings\.pool"):
            pools.pool_of(name, splits_of(target_of(module)), 1000)
    late = tmp_path / "late"
    attack = replace(ATTACK, settings=replace(SMALL, pool=str(late)), budgets=(10, 20))

    def found() -> set[str]:
        result = securitynet.evaluate(module, arrays(), [attack], preprocessing=FACTS, cache_dir=tmp_path / "kept")
        return {row.status for row in result.rows if row.family == "stealing" and row.metric in ("", "agreement")}

    assert found() == {"skipped"}
    late.mkdir()
    for number in range(20):
        Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(late / f"{number}.png")
    assert found() == {"ok"}, "the images came later"


def test_with_test_images_alone_half_of_them_are_the_queries(module: nn.Module, accelerator: Accelerator) -> None:
    whole = images()
    alone = splits_of(target_of(module), ImageSet("quarters", None, whole.test, "revision"))
    evidence = ATTACK(target_of(module), alone, accelerator)
    found = evidence.arrays()
    assert len(found["test_indices"]) == 100 and len(found["query_indices"]) == 60 == evidence.queries
    assert not set(found["test_indices"]) & set(found["query_indices"])
    agreement = next(one for one in evidence.metrics() if one.metric == "agreement")
    assert agreement.n == 100 and agreement.value is not None and agreement.value > 0.4
    assert agreement.reason == "the queries are half of the test images, the evaluation is on the other"
    other = splits_of(target_of(module), ImageSet("quarters", None, whole.test, "revision"), seed=1)
    assert set(pools.evaluation_split(other).indices) != set(found["test_indices"])
    assert len(pools.evaluation_split(alone, "noise")) == 200, "other queries leave all test images to the evaluation"
    with pytest.raises(Skipped, match="training or test images"):
        pools.pool_of("in", replace(alone, test=None), 1000)


@pytest.mark.parametrize("damage", ["missing", "renamed", "other shape", "none"])
def test_a_copy_that_lacks_a_tensor_is_trained_again(module: nn.Module, accelerator: Accelerator, tmp_path: Path, damage: str) -> None:
    def run() -> Any:
        target = replace(target_of(module), cache=ArrayCache(tmp_path))
        return replace(ATTACK, budgets=(40,))(target, splits_of(target), accelerator)

    first = run()
    copies = [path for path in tmp_path.glob("*/*.safetensors") if len(load_file(path)) > 3]
    assert len(copies) == 3, "the surrogate, its control, the owner of the labels"
    for path in copies:
        tensors = load_file(path)
        name = sorted(tensors)[-1]
        tensor = tensors.pop(name)
        if damage == "renamed":
            tensors[f"{name}.old"] = tensor
        if damage == "other shape":
            tensors[name] = np.zeros((1, *tensor.shape), tensor.dtype)
        save_file({} if damage == "none" else tensors, path)
    np.testing.assert_array_equal(run().copies[0].logits, first.copies[0].logits)


def test_a_training_checkpoint_that_lacks_a_tensor_is_none(accelerator: Accelerator, tmp_path: Path) -> None:
    pixels, labels = torch.rand(40, 4), torch.arange(40) % 2
    place, recipe = tmp_path / "run.safetensors", Recipe(epochs=3, batch_size=10, momentum=0.9)

    def trained(checkpoint: Path | None) -> torch.Tensor:
        torch.manual_seed(0)
        network = nn.Linear(4, 2)
        train(network, pixels, labels, recipe, accelerator, checkpoint=checkpoint)
        return network.weight.detach().clone()

    whole = trained(place)
    assert torch.equal(trained(None), whole)
    from safetensors import safe_open
    from safetensors.torch import save_file as save_torch

    with safe_open(place, "pt") as file:
        note, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for prefix in ("network/", "optimiser/"):
        gone = next(name for name in sorted(tensors) if name.startswith(prefix))
        save_torch({name: tensor for name, tensor in tensors.items() if name != gone}, place, note)
        assert torch.equal(trained(place), whole), prefix


def test_a_surrogate_is_known_by_its_weights_not_by_its_name(module: nn.Module, accelerator: Accelerator, tmp_path: Path) -> None:
    target = target_of(module)

    def key(copier: Copier) -> str:
        return copier._key("content", torch.zeros(2, dtype=torch.long), 0)

    first = Copier(target, accelerator, SMALL, 0)
    again = Copier(target, accelerator, SMALL, 0)
    assert key(first) == key(again)
    moved = Copier(target, accelerator, SMALL, 0)
    start = moved.fresh(0)
    with torch.no_grad():
        next(start.module.parameters()).add_(1e-3)
    moved._starts[0] = start.fingerprint
    assert key(moved) != key(first), "other weights under the same name"
    named = Copier(target, accelerator, replace(SMALL, surrogate_args='{"width":8}'), 0)
    assert key(named) == key(first), "the same weights under another name"
