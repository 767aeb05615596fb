"""ConvNeXt with MeanSparse in every block, Amini et al., 2024, arXiv:2406.05927."""

from __future__ import annotations

from typing import Any

from torch import nn

from securitynet.loaders.nets._parts import MeanSparse


def mean_sparse_convnext(
    depths: tuple[int, ...] = (3, 3, 27, 3),
    widths: tuple[int, ...] = (192, 384, 768, 1536),
    num_classes: int = 1000,
    in_channels: int = 3,
) -> nn.Module:
    """Return timm's ConvNeXt with MeanSparse before the GELU of each block (`mlp.act.0`) and at its end (`drop_path`).

    Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    from timm.models.convnext import ConvNeXt

    network: Any = ConvNeXt(in_chans=in_channels, num_classes=num_classes, depths=depths, dims=widths)
    for stage, width in zip(network.stages, widths, strict=True):
        for block in stage.blocks:
            block.mlp.act = nn.Sequential(MeanSparse(block.mlp.fc1.out_features, axis=-1), block.mlp.act)
            block.drop_path = MeanSparse(width)
    made: nn.Module = network
    return made
