"""HRNet, Wang et al., 2019, arXiv:1908.07919, as timm has it, without the biases of its last convolutions before batch norms."""

from __future__ import annotations

from typing import Any

from torch import nn


def biasless_hrnet(width: int = 18, num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """Return timm's hrnet_w`width`, as in OpenMMLab's code; keys are those of timm.

    Input [n, in_channels, h, w], output logits [n, num_classes]. Raises ValueError for another width.
    """
    import timm

    widths = (18, 30, 32, 40, 44, 48, 64)
    if width not in widths:
        raise ValueError(f"width must be one of {', '.join(map(str, widths))}, not {width}")
    network: Any = timm.create_model(f"hrnet_w{width}", pretrained=False, num_classes=num_classes, in_chans=in_channels)
    for part in (*network.downsamp_modules.modules(), *network.final_layer.modules()):
        if isinstance(part, nn.Conv2d):
            part.bias = None
    made: nn.Module = network
    return made
