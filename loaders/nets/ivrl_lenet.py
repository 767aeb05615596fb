"""The LeNet for MNIST of Liu et al., 2020, arXiv:2006.08403 (adversarial training with scheduled budgets)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def ivrl_lenet(width: int = 16, num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """Return two 5x5 convolutions of 2 and 4 times `width` channels and two linear layers.

    Input [n, in_channels, 28, 28] in [0,1], output logits [n, num_classes].
    """
    return _LeNet(width, num_classes, in_channels)


class _LeNet(nn.Module):
    def __init__(self, width: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 2 * width, 5, padding=2)
        self.conv2 = nn.Conv2d(2 * width, 4 * width, 5, padding=2)
        self.fc1 = nn.Linear(7 * 7 * 4 * width, 64 * width)
        self.fc2 = nn.Linear(64 * width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))
