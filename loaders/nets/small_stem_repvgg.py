"""RepVGG (Ding et al., 2021, arXiv:2101.03697) for small images, as it is trained: three branches per block, not yet merged."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

BLOCKS = (2, 4, 14, 1)
WIDTHS = {"a0": (48, 48, 96, 192, 1280), "a1": (64, 64, 128, 256, 1280), "a2": (64, 96, 192, 384, 1408)}


def small_stem_repvgg(variant: Literal["a0", "a1", "a2"] = "a0", num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Return the network for 32x32 images: stem and first stage have stride 1.

    Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    return _RepVGG(WIDTHS[variant], num_classes, in_channels)


class _Branch(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.rbr_identity = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None
        self.rbr_dense = _Branch(inputs, outputs, 3, stride)
        self.rbr_1x1 = _Branch(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.rbr_dense(x) + self.rbr_1x1(x)
        return F.relu(y if self.rbr_identity is None else y + self.rbr_identity(x))


class _RepVGG(nn.Module):
    def __init__(self, widths: tuple[int, ...], num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stage0 = _Block(in_channels, widths[0], 1)
        self.stage1 = _stage(widths[0], widths[1], BLOCKS[0], 1)
        self.stage2 = _stage(widths[1], widths[2], BLOCKS[1], 2)
        self.stage3 = _stage(widths[2], widths[3], BLOCKS[2], 2)
        self.stage4 = _stage(widths[3], widths[4], BLOCKS[3], 2)
        self.linear = nn.Linear(widths[4], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stage4(self.stage3(self.stage2(self.stage1(self.stage0(x)))))
        return self.linear(x.mean(dim=(2, 3)))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(inputs, outputs, stride), *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))
