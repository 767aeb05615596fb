"""Plain networks as a list of layers: built as torch builds them, refused where the list is wrong."""

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

CONV: dict[str, Any] = {"layer": "Conv2d", "in_channels": 1, "out_channels": 6, "kernel_size": 5}
LINEAR: dict[str, Any] = {"layer": "Linear", "in_features": 256, "out_features": 10}
LENET: list[Any] = [
    CONV | {"key": "conv1"},
    "ReLU",
    {"layer": "MaxPool2d", "kernel_size": 2},
    CONV | {"key": "conv2", "in_channels": 6, "out_channels": 16},
    "ReLU",
    {"layer": "MaxPool2d", "kernel_size": 2},
    "Flatten",
    {"layer": "Linear", "key": "head.fc1", "in_features": 256, "out_features": 84},
    "ReLU",
    {"layer": "Linear", "key": "head.fc2", "in_features": 84, "out_features": 10},
]


class LeNet(nn.Module):
    """As tutorials write it: the order of the calls stands in forward() only."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Module()
        self.head.fc2, self.head.fc1 = nn.Linear(84, 10), nn.Linear(256, 84)
        self.conv2, self.conv1 = nn.Conv2d(6, 16, 5), nn.Conv2d(1, 6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2)
        return self.head.fc2(self.head.fc1(x.flatten(1)).relu())


def record(layers: Any, **columns: Any) -> dict[str, Any]:
    facts = {"architecture": "chain:plain", "architecture_args": {"layers": layers}, "num_classes": 10, "input_size": [1, 28, 28]}
    return facts | {"mean": [0.0], "std": [1.0], "dataset": "MNIST"} | columns


def entry_of(layers: Any, **columns: Any) -> Entry:
    return Entry.from_record({"id": "a/b", "source": "a", "name": "b", "loader": "checkpoint", **record(layers, **columns)})


def test_a_file_of_a_tutorial_loads_without_code(tmp_path: Path) -> None:
    theirs = LeNet().eval()
    torch.save(theirs.state_dict(), tmp_path / "lenet.pth")
    target = load_model(tmp_path / "lenet.pth", entry=record(LENET))
    pixels = torch.rand(4, 1, 28, 28)
    assert torch.equal(target.module(pixels), theirs(pixels))


def test_keys_of_a_sequential_are_the_numbers(tmp_path: Path) -> None:
    theirs = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 10)
    )
    theirs(torch.rand(8, 1, 28, 28))
    torch.save(theirs.eval().state_dict(), tmp_path / "a.pth")
    layers = [
        {"layer": "Conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": [3, 3], "bias": False},
        {"layer": "BatchNorm2d", "num_features": 4},
        "ReLU",
        {"layer": "AdaptiveAvgPool2d", "output_size": 2},
        "Flatten",
        {"layer": "Linear", "in_features": 16, "out_features": 10},
    ]
    target = load_model(tmp_path / "a.pth", entry=record(layers))
    pixels = torch.rand(4, 1, 28, 28)
    assert torch.equal(target.module(pixels), theirs(pixels))


def test_the_catalogs_chain_is_that_of_its_publisher(tmp_path: Path) -> None:
    """Wong and Kolter's small network, saved as its file nests it."""
    entry = catalog.entry("convex-adversarial/cifar_small_8px")
    theirs = nn.Sequential(
        *(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 8 * 8, 100), nn.ReLU(), nn.Linear(100, 10)),
    )
    torch.save({"state_dict": [theirs.state_dict()]}, tmp_path / "a.pth")
    free = Entry.from_record(entry.to_record() | {"weights_hash": None, "integrity": "none"})
    target = load(free, Files(tmp_path, local=tmp_path / "a.pth"))
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = torch.tensor(entry.mean).view(3, 1, 1), torch.tensor(entry.std).view(3, 1, 1)
    assert torch.equal(target.module(pixels), theirs((pixels - mean) / std))
    assert sum(one.numel() for one in theirs.parameters()) == entry.params


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("ReLU", "must be a list of 1 to 1000 layers"),
        ([], "must be a list of 1 to 1000 layers"),
        ([{"layer": "Conv2D"}], r"layer 0: unknown layer 'Conv2D'.*Conv2d"),
        ([LINEAR, {"layer": "os.system"}], "layer 1: unknown layer"),
        ([{"key": "a"}], "layer 0 must be a layer's name, or an object"),
        ([5], "layer 0 must be a layer's name, or an object"),
        ([CONV | {"kernel": 3}, LINEAR], r"layer 0: unknown argument of Conv2d 'kernel'.*kernel_size"),
        ([CONV | {"device": "cuda"}, LINEAR], "unknown argument of Conv2d 'device'"),
        ([CONV | {"padding_mode": "round"}, LINEAR], "padding_mode of Conv2d is 'round', not one of zeros"),
        ([LINEAR | {"out_features": 10_000_000}], "the last of its layers has 10000000 outputs"),
        ([LINEAR | {"in_features": 10_000_000}], "must be a number, a boolean or a list of numbers"),
        ([LINEAR | {"in_features": {"a": 1}}], "must be a number, a boolean or a list of numbers"),
        ([LINEAR | {"key": "a"}, LINEAR | {"key": "a.b"}], "its key 'a.b' is in the way of 'a'"),
        ([LINEAR | {"key": "a b"}], "must be what stands before .weight"),
        ([LINEAR | {"out_features": 9}], "num_classes is 10, the last of its layers has 9 outputs"),
    ],
)
def test_a_wrong_list_is_refused(layers: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_network(entry_of(layers))


def test_what_torch_refuses_is_said() -> None:
    with pytest.raises(LoadError, match=r"cannot be built with.*groups"):
        build_network(entry_of([CONV | {"groups": 5}, LINEAR]))
    with pytest.raises(UsageError, match="needs the layers in architecture_args"):
        build_network(entry_of([LINEAR], architecture_args=None))
    with pytest.raises(UsageError, match="unknown chain architecture"):
        build_network(entry_of([LINEAR], architecture="chain:residual"))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save(LeNet().state_dict(), tmp_path / "a.pth")
    with pytest.raises(LoadError, match="conv3"):
        load_model(tmp_path / "a.pth", entry=record([layer | {"key": "conv3"} if layer is LENET[0] else layer for layer in LENET]))
    assert json.loads(entry_of(LENET).architecture_args or "")["layers"] == LENET
