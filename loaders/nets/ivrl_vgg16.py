"""The VGG-16 with batch norm of Liu et al., 2020, arXiv:2006.08403 (adversarial training with scheduled budgets)."""

from __future__ import annotations

import torch
from torch import nn

POOL = 0
LAYERS = (4, 4, POOL, 8, 8, POOL, 16, 16, 16, POOL, 32, 32, 32, POOL, 32, 32, 32, POOL)


def ivrl_vgg16(width: int = 8, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Return VGG-16 for 32x32 images with 4, 8, 16, 32 and 32 times `width` channels and one linear layer.

    Input [n, in_channels, 32, 32] in [0,1], output logits [n, num_classes].
    """
    return _VGG16(width, num_classes, in_channels)


class _VGG16(nn.Module):
    def __init__(self, width: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = in_channels
        for factor in LAYERS:
            if factor == POOL:
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = factor * width
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.feature_extractor = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.feature_extractor(x).flatten(1))
