"""torchvision's ResNet with a stem for small images: a 3x3 convolution of stride 1, with or without the max-pool behind it."""

from __future__ import annotations

from torch import nn


def small_stem_resnet(depth: int = 18, pool: bool = False, num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Return ResNet-18, 34 or 50 for 32x32 images; keys are those of torchvision and timm.

    `pool` keeps the max-pool after the stem. Input [n, in_channels, h, w], output logits [n, num_classes]. Raises ValueError
    for another depth.
    """
    from torchvision.models import resnet18, resnet34, resnet50

    makers = {18: resnet18, 34: resnet34, 50: resnet50}
    if depth not in makers:
        raise ValueError(f"depth must be one of {', '.join(map(str, makers))}, not {depth}")
    network: nn.Module = makers[depth](weights=None, num_classes=num_classes)
    network.conv1 = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)
    if not pool:
        network.maxpool = nn.Identity()
    return network
