"""Renames as data: what the column `keys` makes of a state dict, and the nestings of checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from securitynet import catalog
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import LoadError, UsageError
from securitynet.loaders import load, load_model
from securitynet.loaders._architectures import build_network
from securitynet.loaders._keys import normalised, renamed
from securitynet.loaders._state import load_strictly, state_dict

LAYOUTS = [json.loads(line) for line in (Path(__file__).parent / "data" / "robustbench_layouts.jsonl").read_text().splitlines()]
MMPRETRAIN = [json.loads(line) for line in (Path(__file__).parent / "data" / "mmpretrain_layouts.jsonl").read_text().splitlines()]
NETWORK = {"architecture": "nets:tinyvgg", "num_classes": 10, "input_size": [3, 32, 32]}


def entry_of(**columns: Any) -> Entry:
    return Entry.from_record({"id": "a/b", "source": "a", "name": "b", **columns})


def names(state: dict[str, Any], *rules: Any) -> list[str]:
    return list(renamed(state, entry_of(keys=list(rules))))


def test_rules_are_applied_in_turn() -> None:
    state = dict.fromkeys(["module.conv.0.weight", "module.conv.1.weight", "module.fc.bias", "scores"], torch.ones(1))
    rules = [["^module\\.", ""], ["^conv\\.(\\d+)\\.", "layer\\1.conv."], ["^layer0", "stem"], ["^scores$", None]]
    assert names(state, *rules) == ["stem.conv.weight", "layer1.conv.weight", "fc.bias"]
    assert names(state) == list(state)


@pytest.mark.parametrize(
    "rules",
    [
        [["("]],
        [["a", "b", "c"]],
        [["(", ""]],
        ["a"],
        [["a", 5]],
        {"a": "b"},
        5,
        ["in order", ["a", "b"]],
        [["a", "\\2"]],
        [["a", "\\g<x>"]],
    ],
)
def test_a_rule_that_is_none(rules: Any) -> None:
    with pytest.raises(UsageError, match="keys"):
        renamed({"a": torch.ones(1)}, entry_of(keys=json.dumps(rules)))


def test_two_tensors_of_one_name() -> None:
    with pytest.raises(LoadError, match=r"the name c, b is the second"):
        names({"a": torch.ones(1), "b": torch.ones(1)}, ["[ab]", "c"])


@pytest.mark.parametrize(
    ("nested", "key"),
    [
        (lambda state: {"state_dict": state, "epoch": 1}, "state_dict|"),
        (lambda state: state, "state_dict|"),
        (lambda state: {"last": {"state_dict": state}}, "last/state_dict|last|"),
        (lambda state: {"last": state, "best": {}}, "last/state_dict|last|"),
    ],
)
def test_a_state_dict_lies_where_the_source_says(nested: Any, key: str) -> None:
    state = {"w": torch.ones(1)}
    assert dict(state_dict(nested(state), entry_of(state_key=key), Path("a.pt"))) == state


def test_a_choice_leaves_room_for_the_usual_keys_of_a_file_of_ones_own() -> None:
    state = {"w": torch.ones(1)}
    for usual in ("model", "net", "ema", "model_state_dict", "state_dict_ema"):
        assert dict(state_dict({usual: state, "epoch": 3}, entry_of(state_key="state_dict|"), Path("a.pt"), guess=True)) == state
        with pytest.raises(LoadError, match="no state dict under"):
            state_dict({usual: state, "epoch": 3}, entry_of(state_key="state_dict|"), Path("a.pt"))
        with pytest.raises(LoadError, match="no state dict under"):
            state_dict({usual: state}, entry_of(state_key="state_dict"), Path("a.pt"), guess=True)


def test_a_normalisation_among_the_weights_goes_before_that_of_the_record() -> None:
    entry = entry_of(input_size=[3, 32, 32], mean=[0.5] * 3, std=[0.5] * 3)
    state = {"w": torch.ones(2), "input.mean": torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1), "input.std": torch.full((3,), 0.125)}
    found, rest = normalised(entry, state)
    assert found.mean == (0.25, 0.5, 0.75) and found.std == (0.125,) * 3 and list(rest) == ["w"]
    assert normalised(entry, {"w": state["w"]}) == (entry, {"w": state["w"]})
    for wrong in (torch.ones(2), torch.full((3,), float("nan")), torch.zeros(3)):
        with pytest.raises(LoadError, match="the std among the weights"):
            normalised(entry, {"input.std": wrong})


def test_a_file_in_the_order_of_the_network(tmp_path: Path) -> None:
    entry = entry_of(**NETWORK, keys=["in order"])
    network = build_network(entry)
    theirs = {f"layer_{number}": tensor for number, tensor in enumerate(network.state_dict().values())}
    fresh = build_network(entry)
    load_strictly(fresh, theirs, entry)
    assert all(torch.equal(one, other) for one, other in zip(fresh.state_dict().values(), theirs.values(), strict=True))
    *_, last = theirs
    with pytest.raises(LoadError, match="not in one order"):
        load_strictly(fresh, {key: value for key, value in theirs.items() if key != last}, entry)
    with pytest.raises(LoadError, match="not in the order of nets:tinyvgg: layer_1 is"):
        load_strictly(fresh, {key: value for key, value in theirs.items() if key != "layer_0"}, entry)


def test_members_lie_in_files_of_their_own(tmp_path: Path) -> None:
    """The files of an ensemble, and the same tensors in one file."""
    facts = {**NETWORK, "architecture_args": {"members": 2}, "output": "probabilities", "loader": "checkpoint", "mean": [0.0] * 3}
    entry = entry_of(**facts, std=[1.0] * 3, weights_file="w.pt", weights_url="https://a.example/0", more_weights=["https://a.example/1"])
    network = build_network(entry).eval()
    assert isinstance(network.models, nn.ModuleList)
    for number, model in enumerate(network.models):
        torch.save({"state_dict": model.state_dict()}, tmp_path / f"w_m{number}.pt")
    torch.save(network.state_dict(), tmp_path / "all.pt")
    pixels = torch.rand(2, 3, 32, 32)
    expected = torch.stack([model(pixels).softmax(dim=1) for model in network.models]).mean(dim=0).log()
    for local in (tmp_path, tmp_path / "all.pt"):
        target = load(entry, Files(tmp_path, local=local))
        assert torch.allclose(target.module(pixels), expected, atol=1e-6)


@pytest.mark.parametrize("layout", MMPRETRAIN, ids=lambda layout: layout["name"])
def test_names_and_shapes_of_mmpretrain_fit(layout: dict[str, Any]) -> None:
    """One network of each kind; counters of batch norms are left aside."""
    entry = catalog.entry(f"mmpretrain/{layout['name']}")
    with torch.device("meta"):
        network = build_network(entry).state_dict()
    expected = {key: tuple(tensor.shape) for key, tensor in network.items() if not key.endswith("num_batches_tracked")}
    state = {key: torch.empty(shape, device="meta") for key, shape in layout["layout"].items()}
    assert {key: tuple(tensor.shape) for key, tensor in renamed(state, entry).items()} == expected


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout["name"])
def test_names_and_shapes_of_robustbench_fit(layout: dict[str, Any]) -> None:
    """Every tensor of the class's state dict has its place in our network, with the shape that it has there, and none is left."""
    entry = catalog.entry(f"robustbench/{layout['name']}")
    with torch.device("meta"):
        expected = {key: tuple(tensor.shape) for key, tensor in build_network(entry).state_dict().items()}
    state = {key: torch.empty(shape, device="meta") for key, shape in layout["layout"].items()}
    found = {key: tuple(tensor.shape) for key, tensor in renamed(state, entry).items()}
    found = {key: shape for key, shape in found.items() if not key.startswith("input.")}
    assert found == expected


def test_a_normalisation_and_its_prefix_load_from_a_whole_class(tmp_path: Path) -> None:
    """A network behind its normalisation, saved as a whole, as RobustBench's classes for ImageNet are."""
    from torchvision.models import resnet18

    theirs = resnet18(num_classes=1000).eval()
    state = {f"model.{key}": tensor for key, tensor in theirs.state_dict().items()}
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
    torch.save({"state_dict": {"normalize.mean": mean, "normalize.std": std, **state}}, tmp_path / "a.pt")
    target = load_model(tmp_path / "a.pt", entry="robustbench/imagenet/Linf/Salman2020Do_R18")
    pixels = torch.rand(1, 3, 224, 224)
    assert torch.allclose(target.module(pixels), theirs((pixels - mean) / std), atol=1e-5)
    torch.save({"module." + key.removeprefix("model."): tensor for key, tensor in state.items()}, tmp_path / "b.pt")
    bare = load_model(tmp_path / "b.pt", entry="robustbench/imagenet/Linf/Salman2020Do_R18")
    usual = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    assert torch.allclose(bare.module(pixels), theirs((pixels - usual[0]) / usual[1]), atol=1e-5)
