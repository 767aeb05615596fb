"""A small VGG for CIFAR-10, as used for backdoor removal by Zeng et al., 2021, arXiv:2110.03735."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

WIDTHS = (32, 64, 128)


def small_vgg(num_classes: int = 10, in_channels: int = 3, size: int = 32) -> nn.Module:
    """Return three stages of (conv 3x3, batch norm, ELU) twice, max-pool 2 and dropout, then one linear layer.

    Input [n, in_channels, size, size], output logits [n, num_classes].
    """
    return _SmallVGG(num_classes, in_channels, size)


class _SmallVGG(nn.Module):
    def __init__(self, num_classes: int, in_channels: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((in_channels, *WIDTHS)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ELU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ELU()]
            layers += [nn.MaxPool2d(2), nn.Dropout()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(WIDTHS[-1] * (size // 8) ** 2, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))
