"""The small network that Wong and Kolter, 2018 (arXiv:1711.00851) trained to be provably robust."""

from __future__ import annotations

from torch import nn


def convex_small(num_classes: int = 10, in_channels: int = 3, size: int = 32) -> nn.Module:
    """Return two stages of (conv 4x4 with stride 2, ReLU), then two linear layers with a ReLU between them.

    Input [n, in_channels, size, size] (28 or 32), output logits [n, num_classes].
    """
    side = size // 4
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * side * side, 100),
        nn.ReLU(),
        nn.Linear(100, num_classes),
    )
