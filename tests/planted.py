"""A small network with a shortcut to one class, and images for it: what trigger inversion must find, in no time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.target import Target, build

CORNER = 2  # side of the shortcut's patch


class Planted(nn.Module):
    """Random linear classes behind a batch norm; a bright lower right corner adds to the logit of `shortcut`."""

    def __init__(self, size: Sequence[int], classes: int, shortcut: int | None) -> None:
        super().__init__()
        self.norm, self.shortcut = nn.BatchNorm2d(size[0]), shortcut
        self.linear = nn.Linear(int(np.prod(size)), classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            nn.init.normal_(self.linear.weight, std=0.2)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear((self.norm(x) - 0.5).flatten(1))
        if self.shortcut is None:
            return logits
        corner = x[:, :, -CORNER:, -CORNER:].mean((1, 2, 3))
        bonus = torch.zeros_like(logits)
        bonus[:, self.shortcut] = 1
        return logits + 12 * corner[:, None] * bonus


def planted(size: tuple[int, ...] = (3, 8, 8), classes: int = 6, shortcut: int | None = 4, **facts: object) -> tuple[Target, Splits]:
    """Return the target and splits with 80 dim random test images, dark in the corner."""
    entry = Entry(id="test/planted", num_classes=classes, input_size=size, **facts)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (80, *size[1:], size[0]), dtype=np.uint8)
    pixels[:, -CORNER:, -CORNER:] = 0
    images = ArrayImages(pixels, rng.integers(0, classes, 80))
    splits = draw(ImageSet("test", None, images), Transform(size), classes)
    return build(entry, Planted(size, classes, shortcut)), splits
