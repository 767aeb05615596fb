"""The small network of Gu, Dolan-Gavitt and Garg, 2017 (BadNets), arXiv:1708.06733, with its softmax inside."""

from __future__ import annotations

import torch
from torch import nn


def badnet_cnn(num_classes: int = 10, in_channels: int = 1, size: int = 28) -> nn.Module:
    """Return two stages of (conv 5x5, ReLU, average-pool 2), two linear layers and a softmax.

    Input [n, in_channels, size, size] (28 for MNIST, 32 for CIFAR-10), output probabilities [n, num_classes].
    """
    return _BadNet(num_classes, in_channels, size)


class _BadNet(nn.Module):
    def __init__(self, num_classes: int, in_channels: int, size: int) -> None:
        super().__init__()
        side = ((size - 4) // 2 - 4) // 2
        self.conv1 = nn.Sequential(nn.Conv2d(in_channels, 16, 5), nn.ReLU(), nn.AvgPool2d(2))
        self.conv2 = nn.Sequential(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.AvgPool2d(2))
        self.fc1 = nn.Sequential(nn.Linear(32 * side * side, 512), nn.ReLU())
        self.fc2 = nn.Sequential(nn.Linear(512, num_classes))
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.conv1(x)).flatten(1)
        return self.softmax(self.fc2(self.fc1(x)))
