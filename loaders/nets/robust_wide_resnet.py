"""The Wide ResNet for 224x224 images that Peng et al., 2023, arXiv:2308.16258, found by their principles of robust design (Ra-WRN)."""

from __future__ import annotations

import torch
from torch import nn

from securitynet.loaders.nets._parts import Squeeze


def robust_wide_resnet(
    depths: tuple[int, ...] = (7, 11, 18, 1),
    widths: tuple[int, ...] = (512, 1024, 2016, 4032),
    stem: int = 96,
    shrink: float = 0.25,
    groups: int = 2,
    squeeze: float = 0.25,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> nn.Module:
    """Return a stem 7x7 of stride 2 with ReLU, then stages of bottlenecks with SiLU, the first of each with stride 2.

    A bottleneck has `shrink` times its channels inside, in `groups`, and squeeze and excitation of `squeeze` times its input's channels;
    its first convolution has no batch norm. Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    inputs, stages = stem, []
    for depth, width in zip(depths, widths, strict=True):
        blocks = []
        for i in range(depth):
            blocks.append(_Bottleneck(inputs, width, 1 if i else 2, (round(width * shrink), round(inputs * squeeze), groups)))
            inputs = width
        stages.append(nn.Sequential(*blocks))
    first = nn.Sequential(nn.Conv2d(in_channels, stem, 7, 2, 3, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
    return _RobustWideResNet(first, nn.Sequential(*stages), nn.Linear(inputs, num_classes))


class _Bottleneck(nn.Module):
    """`form`: channels inside, hidden channels of squeeze and excitation, groups."""

    def __init__(self, inputs: int, outputs: int, stride: int, form: tuple[int, int, int]) -> None:
        super().__init__()
        inside, hidden, groups = form
        self.conv1 = nn.Conv2d(inputs, inside, 1, bias=False)
        self.conv2, self.bn2 = nn.Conv2d(inside, inside, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(inside)
        self.se = Squeeze(inside, hidden)
        self.conv3, self.bn3 = nn.Conv2d(inside, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.activation = nn.SiLU()
        self.proj: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.proj = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation(self.bn2(self.conv2(self.activation(self.conv1(x)))))
        return self.activation(self.proj(x) + self.bn3(self.conv3(self.se(y))))


class _RobustWideResNet(nn.Module):
    def __init__(self, stem: nn.Module, stages: nn.Module, fc: nn.Module) -> None:
        super().__init__()
        self.stem, self.stages, self.fc = stem, stages, fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.stages(self.stem(x)).mean(dim=(2, 3)))
