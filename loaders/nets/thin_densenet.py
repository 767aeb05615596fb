"""DenseNet-121 with growth 12 for small images, as github.com/edadaltocg/detectors has it: nothing between stem and first block."""

from __future__ import annotations

from typing import Any

from torch import nn


def thin_densenet(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Return the network; keys are those of torchvision and timm.

    Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    from torchvision.models import DenseNet

    network: Any = DenseNet(growth_rate=12, block_config=(6, 12, 24, 16), num_init_features=24, num_classes=num_classes)
    network.features.conv0 = nn.Conv2d(in_channels, 24, 3, 1, 1, bias=False)
    for name in ("norm0", "relu0", "pool0"):
        setattr(network.features, name, nn.Identity())
    return network
