"""The ResNet-18 of Liu et al., 2020, arXiv:2006.08403 (adversarial training with scheduled budgets)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def ivrl_resnet18(width: int = 8, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Return ResNet-18 for 32x32 images with 4, 8, 16 and 32 times `width` channels.

    Input [n, in_channels, 32, 32] in [0,1], output logits [n, num_classes].
    """
    return _ResNet18(width, num_classes, in_channels)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class _ResNet18(nn.Module):
    def __init__(self, width: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        a, b, c, d = (factor * width for factor in (4, 8, 16, 32))
        self.conv1 = nn.Conv2d(in_channels, a, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(a)
        self.layer1 = nn.Sequential(_Block(a, a, 1), _Block(a, a, 1))
        self.layer2 = nn.Sequential(_Block(a, b, 2), _Block(b, b, 1))
        self.layer3 = nn.Sequential(_Block(b, c, 2), _Block(c, c, 1))
        self.layer4 = nn.Sequential(_Block(c, d, 2), _Block(d, d, 1))
        self.classifier = nn.Linear(d, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.classifier(F.avg_pool2d(x, 4).flatten(1))
