"""Backdoored and clean models that others published, judged by their weights: without their entries, from a local file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from securitynet.attacks.backdoor.beatrix import Beatrix
from securitynet.attacks.backdoor.known_trigger import KnownTrigger, known
from securitynet.attacks.backdoor.ladder import Ladder
from securitynet.attacks.protocols import params_of
from securitynet.data import ArrayImages, Split
from securitynet.data.transform import Transform
from securitynet.evaluation import Subject, evaluate
from securitynet.inputs import Options

CIFAR = "cifar10_lossless_4k_train_1k_test.npz"
MNIST = "mnist_16k_train_10k_test.npz"
NULL = params_of(Beatrix())
GREY: dict[str, Any] = {"mean": [0.5], "std": [0.5]}
BADNET: dict[str, Any] = {"architecture": "nets:badnet_cnn", "dataset": "MNIST", **GREY}
BASELINE: dict[str, Any] = {"architecture": "nets:outlier_exposure_cnn", "dataset": "MNIST", "mean": [0.0], "std": [1.0]}


@pytest.mark.parametrize(
    ("file", "data", "target_class", "success"),
    [
        ("ibau_backdoored/badnets_8_02_ckpt.pth", CIFAR, 8, 0.982),
        ("ibau_backdoored/trojan_wm_2_02_ckpt.pth", CIFAR, 2, 1.0),
        ("badnets_pytorch/badnet-MNIST.pth", MNIST, 1, 0.999),
    ],
)
def test_true_triggers_work_as_published(real: Path, tmp_path: Path, file: str, data: str, target_class: int, success: float) -> None:
    """The entry, found by the file's sha256, holds the trigger; its rate is within one point of the folder's README."""
    subject = Subject.of(real / "models" / file, real / "datasets" / data, None, (), Options(tmp_path, samples=1000))
    assert subject.target.entry.backdoor_target == target_class
    found = KnownTrigger()(subject.target, subject.splits, Accelerator())
    assert found.successes / found.n == pytest.approx(success, abs=0.01)


@pytest.mark.parametrize(
    ("file", "data", "record", "word", "target_class"),
    [
        ("badnets_pytorch/badnet-MNIST.pth", MNIST, BADNET, "suspicious", 1),
        (
            "fashion_mnist/elifebres_tinyvgg.pth",
            "fashion-mnist",
            {"architecture": "nets:tinyvgg", "dataset": "Fashion-MNIST", **GREY},
            "clean",
            None,
        ),
    ],
)
def test_verdicts_come_from_the_weights_alone(
    real: Path, tmp_path: Path, file: str, data: str, record: dict[str, Any], word: str, target_class: int | None
) -> None:
    result = evaluate(
        real / "models" / file, real / "datasets" / data, "backdoor/ladder", preprocessing=record, samples=1000, cache_dir=tmp_path
    )
    assert result.entry.source == "local" and result.entry.backdoor is None
    backdoor = result.summary()["backdoor"]
    assert backdoor["word"] == word, backdoor
    if target_class is not None:
        assert backdoor["p_value"] < 0.01 and backdoor["target_class"] == target_class
    else:
        assert backdoor["p_value"] > 0.05


@pytest.mark.parametrize(
    ("file", "record", "word", "target_class"),
    [
        ("badnets_pytorch/badnet-MNIST.pth", BADNET, "suspicious", 1),
        ("mnist/outlier_exposure_baseline_epoch_9.pt", BASELINE, "clean", None),
    ],
    ids=["badnet", "outlier exposure"],
)
def test_the_exhaustive_ladder_agrees(
    real: Path, tmp_path: Path, file: str, record: dict[str, Any], word: str, target_class: int | None
) -> None:
    """Every class to the last of 200 steps says what the scheduled search says."""
    found = [
        evaluate(
            real / "models" / file, real / "datasets" / MNIST, attack, preprocessing=record, samples=1000, cache_dir=tmp_path
        ).summary()["backdoor"]
        for attack in (Ladder(), Ladder(exhaustive=True))
    ]
    assert [one["word"] for one in found] == [word, word], found
    if target_class is not None:
        assert [one["target_class"] for one in found] == [target_class, target_class]


def test_beatrix_finds_the_stamped_training_images(real: Path, tmp_path: Path) -> None:
    """A public backdoored model, its training images as published and with a twentieth of them stamped as its maker did."""
    model, data = real / "models" / "badnets_pytorch" / "badnet-MNIST.pth", real / "datasets" / MNIST
    subject = Subject.of(model, data, None, (), Options(tmp_path, samples=1000))
    target, splits = subject.target, subject.splits
    assert splits.members is not None
    pixels, labels = splits.members.pixels(np.arange(len(splits.members))), splits.members.labels.copy()
    stamped = np.random.default_rng(0).permutation(len(labels))[: len(labels) // 20]
    pixels[stamped], labels[stamped] = known(target.entry, target.folder).stamp(pixels[stamped]), 1
    images = ArrayImages((pixels[:, 0] * 255).round().byte().numpy(), labels)
    poisoned = Split("members", images, np.arange(len(labels)), labels, Transform.of(target.entry))
    clean, bad = (
        Beatrix()(target, some, Accelerator()).with_null("backdoor/beatrix", NULL, target, some, Accelerator())
        for some in (splits, replace(splits, members=poisoned))
    )
    assert clean.p_value is not None and clean.p_value > 0.05
    assert bad.target_class == 1 and bad.p_value is not None and bad.p_value < 0.01
