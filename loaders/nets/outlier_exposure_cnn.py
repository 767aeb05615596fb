"""The MNIST classifier of Hendrycks, Mazeika and Dietterich, 2018, arXiv:1812.04606."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def outlier_exposure_cnn(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """Return the network of two 5x5 convolutions and two linear layers, with a sigmoid form of GELU.

    Input [n, in_channels, 28, 28], output logits [n, num_classes].
    """
    return _OutlierExposureCNN(num_classes, in_channels)


class _OutlierExposureCNN(nn.Module):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _gelu(F.max_pool2d(self.conv1(x), 2))
        x = _gelu(F.max_pool2d(self.conv2(x), 2))
        return self.fc2(_gelu(self.fc1(x.flatten(1))))


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)
