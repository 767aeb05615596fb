"""Swin transformer, Liu et al., 2021, arXiv:2103.14030, and version 2, arXiv:2111.09883, merging patches in the order of nn.Unfold."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def unfold_swin(
    depths: tuple[int, ...] = (2, 2, 6, 2),
    heads: tuple[int, ...] = (3, 6, 12, 24),
    width: int = 96,
    window: int = 7,
    version: int = 1,
    pretrained_window: int = 0,
    size: int = 224,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> nn.Module:
    """Return timm's network of `version` 1 or 2 in which the four patches that become one lie channel by channel, as in OpenMMLab's code;
    keys are those of timm.

    `pretrained_window` (version 2): window of an earlier training, by which relative positions are scaled. Input
    [n, in_channels, size, size], output logits [n, num_classes]. Raises ValueError for another version.
    """
    shared = {"img_size": size, "in_chans": in_channels, "num_classes": num_classes, "embed_dim": width, "depths": depths}
    network: Any
    if version == 1:
        from timm.models.swin_transformer import SwinTransformer

        network = SwinTransformer(**shared, num_heads=heads, window_size=window)
    elif version == 2:
        from timm.models.swin_transformer_v2 import SwinTransformerV2

        windows = {"window_size": window, "pretrained_window_sizes": (pretrained_window,) * len(depths)}
        network = SwinTransformerV2(**shared, num_heads=heads, **windows)
    else:
        raise ValueError(f"version must be 1 or 2, not {version}")
    for stage in network.layers:
        if not isinstance(stage.downsample, nn.Identity):
            stage.downsample = _Merging(stage.downsample, normed_last=version == 2)
    made: nn.Module = network
    return made


class _Merging(nn.Module):
    """Four patches become one: [n, h, w, c] to [n, h/2, w/2, out]."""

    def __init__(self, merging: Any, normed_last: bool) -> None:
        super().__init__()
        self.norm, self.reduction, self.normed_last = merging.norm, merging.reduction, normed_last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, height, width, channels = x.shape
        x = nn.functional.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        x = x.reshape(count, (height + 1) // 2, 2, (width + 1) // 2, 2, channels).permute(0, 1, 3, 5, 2, 4).flatten(3)
        return self.norm(self.reduction(x)) if self.normed_last else self.reduction(self.norm(x))
