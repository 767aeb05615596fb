"""TinyVGG: two blocks of two small convolutions and one linear layer, a common teaching network."""

from __future__ import annotations

import torch
from torch import nn


def tinyvgg(width: int = 10, num_classes: int = 10, in_channels: int = 1, size: int = 28) -> nn.Module:
    """Return the network: (conv 3x3, ReLU) twice and max-pool 2 in each block, `width` channels throughout.

    Input [n, in_channels, size, size], output logits [n, num_classes].
    """
    return _TinyVGG(width, num_classes, in_channels, size)


class _TinyVGG(nn.Module):
    def __init__(self, width: int, num_classes: int, in_channels: int, size: int) -> None:
        super().__init__()
        self.block_1 = _block(in_channels, width)
        self.block_2 = _block(width, width)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(width * (size // 4) ** 2, num_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.block_2(self.block_1(x)))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.MaxPool2d(2))
