"""torchvision's MobileNetV2 for small images: its first two reductions of the image have stride 1."""

from __future__ import annotations

from typing import Any

from torch import nn

STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def small_stem_mobilenet_v2(width: float = 1.0, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Return the network for 32x32 images, `width` times as many channels; keys are those of torchvision.

    Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    from torchvision.models import MobileNetV2

    network: Any = MobileNetV2(num_classes=num_classes, width_mult=width, inverted_residual_setting=[list(stage) for stage in STAGES])
    stem = network.features[0][0]
    network.features[0][0] = nn.Conv2d(in_channels, stem.out_channels, 3, 1, 1, bias=False)
    return network
