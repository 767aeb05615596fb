"""XCiT for 32x32 images, Debenedetti et al., 2022, arXiv:2209.07399: patches of 16 pixels trained on, cut to 4 by smaller strides."""

from __future__ import annotations

from torch import nn


def small_patch_xcit(
    width: int = 384, heads: int = 8, depth: int = 12, size: int = 32, num_classes: int = 10, in_channels: int = 3
) -> nn.Module:
    """Return timm's XCiT for patches of 16 whose first two stem convolutions have stride 1, so that patches are 4x4.

    Keys are those of timm. Input [n, in_channels, size, size], output logits [n, num_classes].
    """
    from timm.models.xcit import Xcit

    network = Xcit(
        img_size=size, patch_size=16, in_chans=in_channels, num_classes=num_classes, embed_dim=width, depth=depth, num_heads=heads, eta=1.0,
        tokens_norm=True,
    )  # fmt: skip
    for place in (0, 2):  # an activation stands between two convolutions
        network.patch_embed.proj[place][0].stride = (1, 1)
    return network
