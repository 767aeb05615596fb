"""Swin transformer, Liu et al., 2021, arXiv:2103.14030, as timm has it, with what timm leaves no choice of."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from securitynet.loaders.nets._parts import MeanSparse


def swin(
    depths: tuple[int, ...] = (2, 2, 18, 2),
    heads: tuple[int, ...] = (6, 12, 24, 48),
    width: int = 192,
    window: int = 7,
    epsilon: float = 1e-5,
    mean_sparse: bool = False,
    size: int = 224,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> nn.Module:
    """Return timm's network, whose layer norms have `epsilon`; keys are those of timm.

    `mean_sparse`: with MeanSparse (Amini et al., 2024, arXiv:2406.05927) behind both halves of each block, and before the GELU and at the
    end of its MLP. Their keys: `block.meansparse1`, `block.meansparse2`, `mlp.fc1.1`, `mlp.fc2.1`; the blocks' own lie under `block.`.
    Input [n, in_channels, size, size], output logits [n, num_classes].
    """
    from timm.models.swin_transformer import SwinTransformer

    network: Any = SwinTransformer(
        img_size=size, in_chans=in_channels, num_classes=num_classes, embed_dim=width, depths=depths, num_heads=heads, window_size=window,
        norm_layer=partial(nn.LayerNorm, eps=epsilon),
    )  # fmt: skip
    for stage in network.layers if mean_sparse else ():
        stage.blocks = nn.Sequential(*(_Block(block) for block in stage.blocks))
    made: nn.Module = network
    return made


class _Block(nn.Module):
    """A block of timm, [n, h, w, c], with MeanSparse in it."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block
        self.meansparse1, self.meansparse2 = MeanSparse(block.dim, axis=-1), MeanSparse(block.dim, axis=-1)
        for name in ("fc1", "fc2"):
            linear = getattr(block.mlp, name)
            setattr(block.mlp, name, nn.Sequential(linear, MeanSparse(linear.out_features, axis=-1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.meansparse1(x + self.block._attn(self.block.norm1(x)))
        return self.meansparse2(x + self.block.mlp(self.block.norm2(x)))
