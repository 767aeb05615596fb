"""VGG with batch norm (Simonyan and Zisserman, 2015, arXiv:1409.1556) for small images: its convolutions under a small head."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions per stage
WIDTHS = (64, 128, 256, 512, 512)


def compact_vgg(
    depth: int = 16, head: Literal["mlp", "linear"] = "mlp", hidden: int = 512, num_classes: int = 10, in_channels: int = 3
) -> nn.Module:
    """Return VGG-11, 13, 16 or 19 for 32x32 images.

    `head` is two layers of `hidden` units (keys `classifier.*`), or average pooling and one linear layer (`head.fc`).
    Input [n, in_channels, 32, 32], output logits [n, num_classes]. Raises ValueError for another depth.
    """
    if depth not in STAGES:
        raise ValueError(f"depth must be one of {', '.join(map(str, STAGES))}, not {depth}")
    return _CompactVGG(_features(STAGES[depth], in_channels), hidden if head == "mlp" else None, num_classes)


def _features(repeats: tuple[int, ...], in_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count, width in zip(repeats, WIDTHS, strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            in_channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class _CompactVGG(nn.Module):
    def __init__(self, features: nn.Sequential, hidden: int | None, num_classes: int) -> None:
        super().__init__()
        self.features = features
        self.pooled = hidden is None
        if hidden is None:
            self.head = nn.Sequential(OrderedDict(fc=nn.Linear(512, num_classes)))
        else:
            layers = [nn.Linear(512, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout()]
            self.classifier = nn.Sequential(*layers, nn.Linear(hidden, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        return self.head(x.mean(dim=(2, 3))) if self.pooled else self.classifier(x.flatten(1))
