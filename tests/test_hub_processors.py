"""What is read of a repo's small files as its input, compared with what timm and transformers themselves make of these files."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from PIL import Image

from securitynet.importers.onhub.processors import timm_input, transformers_input

timm = pytest.importorskip("timm")
COLOUR = (200, 30, 120)


def saved(name: str, folder: Path) -> dict[str, Any]:
    """The config.json that timm itself writes for a pretrained model; the network is not needed for it."""
    from timm.models import get_pretrained_cfg
    from timm.models._hub import save_config_for_hf

    stated = get_pretrained_cfg(name)
    network = SimpleNamespace(pretrained_cfg=stated.to_dict(), num_classes=stated.num_classes, num_features=8)
    save_config_for_hf(network, folder / "config.json")
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def steps(transform: Any) -> dict[str, Any]:
    """The parts of a transform, by the name of their class."""
    return {type(part).__name__: part for part in transform.transforms}


def test_timm_itself_makes_the_same_transform_of_every_config(tmp_path: Path) -> None:
    from timm.data import create_transform, resolve_data_config

    names = sorted(random.Random(19).sample(timm.list_pretrained(), 150))
    read: Counter[bool] = Counter()
    for name in names:
        config = saved(name, tmp_path)
        found = timm_input(config)
        read[bool(found)] += 1
        if not found:
            continue
        theirs = resolve_data_config(pretrained_cfg=config["pretrained_cfg"])
        assert (tuple(found["input_size"]), tuple(found["mean"]), tuple(found["std"])) == (
            tuple(theirs["input_size"]),
            tuple(theirs["mean"]),
            tuple(theirs["std"]),
        ), name
        made = steps(create_transform(**theirs))
        assert tuple(made["Normalize"].mean.tolist()) == pytest.approx(found["mean"]), name
        assert found["interpolation"] == theirs["interpolation"] and found["crop"] == theirs["crop_mode"], name
        if "Resize" in made and found["crop"] == "center":
            assert made["Resize"].size == found["resize"], name
            assert str(made["Resize"].interpolation.value) == found["interpolation"], name
        if "CenterCrop" in made:
            assert tuple(made["CenterCrop"].size) == tuple(found["input_size"][1:]), name
        assert create_transform(**theirs)(Image.new("RGB", (500, 400), COLOUR)).shape == tuple(found["input_size"]), name
    assert read[True] > 140, read


@pytest.mark.parametrize("key", ["input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation"])
def test_a_setting_that_timm_would_fill_by_a_default_is_not_filled_here(key: str, tmp_path: Path) -> None:
    config = saved("resnet50.a1_in1k", tmp_path)
    assert timm_input(config)
    del config["pretrained_cfg"][key]
    assert timm_input(config) == {}


def processors() -> list[Any]:
    """Image processors with settings of their own."""
    from transformers import ViTImageProcessor

    return [
        ViTImageProcessor(),
        ViTImageProcessor(size={"height": 96, "width": 160}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=3),
        ViTImageProcessor(size={"height": 384, "width": 384}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
    ]


@pytest.mark.parametrize("number", range(3))
def test_transformers_itself_feeds_the_same_numbers(number: int, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from transformers import AutoImageProcessor

    processors()[number].save_pretrained(tmp_path)
    found = transformers_input((tmp_path / "preprocessor_config.json").read_bytes())
    assert found, (tmp_path / "preprocessor_config.json").read_text()
    fed = AutoImageProcessor.from_pretrained(tmp_path)(Image.new("RGB", (300, 170), COLOUR), return_tensors="np")["pixel_values"][0]
    assert list(fed.shape) == found["input_size"]
    expected = (numpy.array(COLOUR) / 255 - found["mean"]) / found["std"]
    assert numpy.abs(fed - expected[:, None, None]).max() < 1e-5


@pytest.mark.parametrize(
    "kind", ["ConvNextImageProcessor", "BitImageProcessor", "DeiTImageProcessor", "CLIPImageProcessor", "BeitImageProcessor"]
)
def test_a_processor_that_computes_sizes_is_left_to_transformers(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    getattr(transformers, kind)().save_pretrained(tmp_path)
    assert transformers_input((tmp_path / "preprocessor_config.json").read_bytes()) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"do_normalize": False},
        {"do_rescale": False},
        {"rescale_factor": 1 / 127.5},
        {"do_center_crop": True},
        {"size": {"shortest_edge": 224}},
        {"image_std": [0.5, 0.0, 0.5]},
        {"image_mean": [0.5]},
        {"resample": None},
    ],
)
def test_settings_that_change_the_pixels_otherwise_are_left_to_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    processors()[0].save_pretrained(tmp_path)
    stated = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert transformers_input(json.dumps(stated).encode())
    assert transformers_input(json.dumps(stated | changes).encode()) == {}
