"""torchvision's DenseNet with a stem for small images: a 3x3 convolution of stride 1 before the max-pool."""

from __future__ import annotations

from typing import Any

from torch import nn

SHAPES = {121: (32, (6, 12, 24, 16), 64), 161: (48, (6, 12, 36, 24), 96), 169: (32, (6, 12, 32, 32), 64)}


def small_stem_densenet(depth: int = 121, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Return DenseNet-121, 161 or 169 for 32x32 images; keys are those of torchvision.

    Input [n, in_channels, h, w], output logits [n, num_classes]. Raises ValueError for another depth.
    """
    from torchvision.models import DenseNet

    if depth not in SHAPES:
        raise ValueError(f"depth must be one of {', '.join(map(str, SHAPES))}, not {depth}")
    growth, blocks, width = SHAPES[depth]
    network: Any = DenseNet(growth, blocks, width, num_classes=num_classes)
    network.features.conv0 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
    return network
