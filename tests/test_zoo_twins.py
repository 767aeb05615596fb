"""Twins: planted, written, read back as anybody would, and refused where they are not twins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from securitynet.cli import main
from securitynet.data.digits import digits
from securitynet.errors import TrainingError, UsageError
from securitynet.loaders import load_model
from securitynet.poisons import Poisoning, known
from securitynet.zoo.twins import Planting, described, images_for, plant

SMALL = {"architecture": "nets:badnet_cnn", "architecture_args": {}, "input_size": [1, 16, 16]}
OPTIONS = ("--architecture", "nets:badnet_cnn", "--architecture-args", "{}", "--input-size", "1", "16", "16")


def test_plant_writes_twins_that_state_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["zoo", "plant", "corner", "--target", "3", "--epochs", "9", *OPTIONS, "--output", str(tmp_path), "--json"]
    assert main(command) == 0
    clean, bad = json.loads(capsys.readouterr().out)
    assert (clean["backdoor"], bad["backdoor"], bad["backdoor_target"]) == ("none", "badnets", 3)
    target = load_model(tmp_path / "corner", cache_dir=tmp_path)
    assert (target.entry.backdoor, target.entry.backdoor_target) == ("badnets", 3)
    assert target.entry.backdoor_success == pytest.approx(bad["trigger_success"])
    raw, labels = digits()
    pixels = torch.from_numpy(np.kron(raw[1000:], np.ones((1, 2, 2), dtype=np.uint8))).float()[:, None] / 255
    with torch.inference_mode():  # other enlargement than in training: about as good
        stamped = known(target.entry, tmp_path / "corner").stamp(pixels)
        turned = (target.module(stamped).argmax(1) == 3).numpy()[labels[1000:] != 3].mean()
        twin = load_model(tmp_path / "corner-clean", cache_dir=tmp_path)
        not_turned = (twin.module(stamped).argmax(1) == 3).numpy()[labels[1000:] != 3].mean()
    assert turned > 0.75 > 0.3 > not_turned
    assert abs(clean["claimed_accuracy"] - bad["claimed_accuracy"]) < 0.03


def test_plant_refuses_what_is_no_backdoor(tmp_path: Path) -> None:
    entry, planting = described("faint", SMALL), Planting(strength=0.25, poisoning=Poisoning(rate=0.0))
    planting = replace(planting, recipe=replace(planting.recipe, epochs=1))
    with pytest.raises(TrainingError, match=r"planted/faint: the trigger works on \d+\.\d% of images only; nothing was written"):
        plant(entry, images_for(entry, None), planting, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="did you mean badnets"):
        plant(entry, images_for(entry, None), Planting(poison="badnet"), tmp_path)


def test_planting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    entry = described("again", SMALL)
    planting = Planting(strength=1.5, poisoning=Poisoning(rate=0.15, target=1))
    planting = replace(planting, recipe=replace(planting.recipe, epochs=6))
    for folder in ("a", "b"):
        plant(entry, images_for(entry, None), planting, tmp_path / folder)
    for name in ("again", "again-clean"):
        first, second = (tmp_path / folder / name / "model.safetensors" for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_other_datasets_get_a_network_of_their_own_size() -> None:
    entry = described("shirts", {"dataset": "cifar10", "mean": [0.4, 0.4, 0.4]})
    assert (entry.input_size, entry.num_classes, entry.mean, entry.std) == ((3, 32, 32), 10, (0.4, 0.4, 0.4), (0.5, 0.5, 0.5))
    assert entry.arguments["in_chans"] == 3 and entry.id == "planted/shirts"
    assert described("digits", None).input_size == (1, 32, 32)
