"""ConvNeXt behind a stem of several convolutions, Singh et al., 2023, arXiv:2303.01870."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def conv_stem_convnext(
    depths: tuple[int, ...] = (3, 3, 9, 3),
    widths: tuple[int, ...] = (96, 192, 384, 768),
    stem: tuple[int, ...] = (48, 96),
    num_classes: int = 1000,
    in_channels: int = 3,
) -> nn.Module:
    """Return timm's ConvNeXt whose stem is a chain of (conv 3x3, layer norm, GELU) of `stem` channels, the first two with stride 2.

    Keys are those of timm, the stem's `stem.0.weight`, ... Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    from timm.models.convnext import ConvNeXt

    network: nn.Module = ConvNeXt(in_chans=in_channels, num_classes=num_classes, depths=depths, dims=widths)
    network.stem = conv_stem((in_channels, *stem), strides=2)
    return network


def conv_stem(channels: tuple[int, ...], strides: int) -> nn.Sequential:
    """Return (conv 3x3, layer norm over the channels, GELU) for each step of `channels`; the first `strides` of them halve the image."""
    from timm.layers import LayerNorm2d

    steps = enumerate(pairwise(channels))
    layers = [(nn.Conv2d(a, b, 3, 2 if i < strides else 1, 1), LayerNorm2d(b, eps=1e-6), nn.GELU()) for i, (a, b) in steps]
    return nn.Sequential(*(layer for step in layers for layer in step))
