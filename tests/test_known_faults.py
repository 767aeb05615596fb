"""Faults of other implementations that change a published number: none of them is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import securitynet
from securitynet.attacks.membership.boundary import Boundary
from securitynet.data import ArrayImages, ImageSet

PREPROCESSING: dict[str, Any] = {"input_size": [1, 6, 6], "mean": [0.5], "std": [0.5], "num_classes": 3}


class Careful(nn.Module):
    """A network with batch normalisation that refuses images in double precision, as convolutions in float32 do."""

    def __init__(self, probabilities: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
        self.probabilities, self.seen = probabilities, set[torch.dtype]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.add(x.dtype)
        logits = self.layers(x)
        return logits.softmax(1) if self.probabilities else logits


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """No image of the first class, and none of the last among the non-members."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (240, 6, 6), dtype=np.uint8)
    labels = np.concatenate([rng.integers(1, 3, 120), np.ones(120, np.int64)])
    return ImageSet("noise", ArrayImages(pixels[:120], labels[:120]), ArrayImages(pixels[120:], labels[120:]))


def test_a_missing_class_and_single_precision_stop_no_attack(images: ImageSet, tmp_path: Path) -> None:
    """Others take the number of classes from the labels at hand, and ask about float64 images."""
    network = Careful().eval()
    attacks = ["standard", "membership/augmentation", "membership/noise", Boundary(images=20, iterations=2)]
    result = securitynet.evaluate(network, images, attacks, preprocessing=PREPROCESSING, cache_dir=tmp_path)
    assert [row.reason for row in result.rows if row.status == "failed"] == []
    areas = {row.attack: row.value for row in result.rows if row.family == "membership" and row.metric == "auc"}
    assert len(areas) >= 13 and None not in areas.values()
    assert network.seen == {torch.float32}


def test_answers_in_logits_and_in_probabilities_are_one_model(images: ImageSet, tmp_path: Path) -> None:
    """Others take logits for probabilities; and a batch of one goes through batch normalisation, which stays as it was."""
    statistics = {}
    for probabilities in (False, True):
        network = Careful(probabilities).eval()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        described = PREPROCESSING | {"output": "probabilities" if probabilities else "logits"}
        result = securitynet.evaluate(network, images, "membership/loss", preprocessing=described, cache_dir=tmp_path, batch_size=1)
        statistics[probabilities] = result.scores("membership/loss")["score"].to_numpy()
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert statistics[True] == pytest.approx(statistics[False], abs=1e-5)
