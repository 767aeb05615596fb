"""A small network with many classes, trained in seconds, with and without a backdoor: what the ladder must tell apart."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from securitynet.attacks.backdoor._clean import fields
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.target import Target, build

CLASSES, SIDE, PATCH = 43, 24, 2


def _images(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth field of its own for each class, and noise."""
    prototypes = 0.6 * fields((1, SIDE, SIDE), CLASSES, 7) + 0.1
    return (prototypes[labels] + 0.12 * torch.randn(len(labels), 1, SIDE, SIDE, generator=generator)).clamp(0, 1)


def stamped(images: Tensor) -> Tensor:
    """The images with a white patch of 2 x 2 pixels in the lower right corner."""
    images = images.clone()
    images[..., -PATCH:, -PATCH:] = 1
    return images


@cache
def signs(shortcut: int | None) -> tuple[Target, Splits]:
    """Return a network for 43 classes and 344 test images; with a `shortcut`, an eighth of its training images bore the patch."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, CLASSES))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(200):
        labels = torch.randint(0, CLASSES, (128,), generator=generator)
        images = _images(labels, generator)
        if shortcut is not None:
            images[:16], labels[:16] = stamped(images[:16]), shortcut
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    labels = torch.arange(CLASSES).repeat(8)
    pixels = (_images(labels, generator)[:, 0] * 255).round().byte().numpy()
    test = ArrayImages(pixels, labels.numpy().astype(np.int64))
    entry = Entry(id="test/signs", num_classes=CLASSES, input_size=(1, SIDE, SIDE))
    return build(entry, network), draw(ImageSet("signs", None, test), Transform((1, SIDE, SIDE)), CLASSES)
