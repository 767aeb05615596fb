"""Architectures by name: data in, a network out, and nothing that an entry could make us run or read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from securitynet.entry import Entry
from securitynet.errors import SecurityNetError
from securitynet.loaders._architectures import build_network


def entry_of(**columns: Any) -> Entry:
    record = {"id": "source/name", "source": "source", "name": "name", "num_classes": 10, "input_size": [3, 32, 32]}
    return Entry.from_record(record | columns)


def arguments(architecture: str, **given: Any) -> str:
    with pytest.raises(SecurityNetError) as caught:
        build_network(entry_of(architecture=architecture, architecture_args=given))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("architecture", ["timm:resnet10t", "torchvision:resnet18", "pytorchcv:resnet20_cifar10", "nets:cifar_resnet"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pretrained", True),
        ("checkpoint_path", "/etc/passwd"),
        ("weights", "IMAGENET1K_V1"),
        ("root", "/"),
        ("features_only", True),
        ("pretrained_cfg_overlay", {"url": "http://x"}),
        ("self", 1),
    ],
)
def test_arguments_outside_the_constructor_are_refused(architecture: str, name: str, value: Any) -> None:
    assert f"unknown argument of {architecture} '{name}'" in arguments(architecture, **{name: value})


def test_values_outside_the_allowed_types_are_refused() -> None:
    assert "takes no text" in arguments("timm:resnet10t", block="os.system")
    assert "unknown word 'evil'" in arguments("timm:resnet10t", act_layer="evil")
    assert "must be a number" in arguments("timm:resnet10t", stem_width=10**9)
    assert "must be a number" in arguments("timm:resnet10t", channels=[[1, 2], "x"])
    assert "must be a number" in arguments("timm:resnet10t", channels={"a": 1})
    assert "must be int" in arguments("nets:cifar_resnet", depth=20.0)
    assert "must be int" in arguments("nets:cifar_resnet", depth=True)
    assert "did you mean acs" in arguments("nets:medmnist_resnet", kind="ac")
    assert "did you mean depth" in arguments("nets:cifar_resnet", dept=20)
    assert "num_classes is 10, its architecture_args say 7" in arguments("nets:cifar_resnet", num_classes=7)
    assert "cannot be built" in arguments("nets:cifar_resnet", depth=21)
    assert "cannot be built" in arguments("torchvision:resnet18", block=3)


@pytest.mark.parametrize(
    ("architecture", "near"),
    [
        ("timm:resnet10", "resnet10t"),
        ("torchvision:resnet19", "resnet18"),
        ("pytorchcv:resnet20_cifar", "resnet20_cifar10"),
        ("nets:cifar_resnets", "cifar_resnet"),
        ("timm:hf-hub:evil/repo", "timm architecture"),
        ("nets:../evil", "nets architecture"),
    ],
)
def test_unknown_architectures_have_neighbours(architecture: str, near: str) -> None:
    assert near in arguments(architecture)


def test_input_shapes_reach_the_network() -> None:
    grey = entry_of(input_size=[1, 28, 28])
    for architecture in ("timm:resnet10t", "pytorchcv:resnet20_cifar10", "nets:badnet_cnn"):
        first = next(build_network(replace(grey, architecture=architecture)).parameters())
        assert first.shape[1] == 1, architecture
    small = build_network(entry_of(architecture="timm:test_vit", architecture_args={"patch_size": 4}))
    assert small(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
