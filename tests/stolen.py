"""A small target to steal from: quarters of an image, one class each, learnt with a few wrong labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from securitynet.attacks.stealing._copier import Settings
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.transform import Transform
from securitynet.inputs import from_module
from securitynet.target import Target
from securitynet.training import Recipe, seeded, train

FACTS = {"input_size": [1, 8, 8], "num_classes": 4, "mean": [0.5], "std": [0.5]}
QUICK = Recipe(epochs=6, batch_size=32, optimiser="adamw", learning_rate=0.02, temperature=2.0)
SMALL = Settings(surrogate="nets:tinyvgg", surrogate_args='{"width": 8}', recipe=QUICK, least_steps=60, transfer=None)


def quarters(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 8, 8] with one of four quarters brighter, and which (int64 [n])."""
    rng = np.random.default_rng(seed)
    labels, images = rng.integers(0, 4, n), rng.integers(0, 200, (n, 8, 8)).astype(np.uint8) // 2
    for image, label in zip(images, labels, strict=True):
        image[label // 2 * 4 :, label % 2 * 4 :][:4, :4] += 25
    return images, labels.astype(np.int64)


def images(train_size: int = 400, test_size: int = 200) -> ImageSet:
    """The dataset."""
    parts = ArrayImages(*quarters(train_size)), ArrayImages(*quarters(test_size, seed=1))
    return ImageSet("quarters", *parts, "revision")


def arrays(train_size: int = 400, test_size: int = 200) -> dict[str, Any]:
    """The same as evaluate() takes it."""
    (x_train, y_train), (x_test, y_test) = quarters(train_size), quarters(test_size, seed=1)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def target_module() -> nn.Module:
    """A network trained on the training part."""
    pixels, labels = quarters(400)
    with seeded(3):
        network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 4))
    data = torch.from_numpy(pixels)[:, None].float().div(255).sub(0.5).div(0.5), torch.from_numpy(labels)
    train(network, *data, Recipe(epochs=6, batch_size=32, learning_rate=0.05), Accelerator(cpu=True))
    return network


class Counting(nn.Module):
    """Passes on, and remembers how many images it was shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.num_classes = inner, 4
        self._seen: list[int] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self._seen.append(len(pixels))
        return self.inner(pixels)  # type: ignore[no-any-return]


def target_of(module: nn.Module) -> Target:
    """The module as a target."""
    return from_module(module, FACTS)


def splits_of(target: Target, found: ImageSet | None = None, seed: int = 0, samples: int | None = 100) -> Splits:
    """Its splits; fewer members and test images are drawn than there are."""
    return draw(found or images(), Transform.of(target.entry), target.num_classes, seed, samples)
