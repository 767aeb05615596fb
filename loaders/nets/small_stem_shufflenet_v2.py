"""torchvision's ShuffleNetV2 for small images: a stem of stride 1 and no max-pool."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

WIDTHS = {
    "x0_5": (24, 48, 96, 192, 1024), "x1_0": (24, 116, 232, 464, 1024),
    "x1_5": (24, 176, 352, 704, 1024), "x2_0": (24, 244, 488, 976, 2048),
}  # fmt: skip


def small_stem_shufflenet_v2(
    variant: Literal["x0_5", "x1_0", "x1_5", "x2_0"] = "x1_0", num_classes: int = 10, in_channels: int = 3
) -> nn.Module:
    """Return the network for 32x32 images; keys are those of torchvision.

    Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    from torchvision.models import ShuffleNetV2

    network: Any = ShuffleNetV2([4, 8, 4], list(WIDTHS[variant]), num_classes=num_classes)
    network.conv1[0] = nn.Conv2d(in_channels, WIDTHS[variant][0], 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    return network
