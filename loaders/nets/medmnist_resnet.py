"""The ResNets of the MedMNIST v2 experiments at 28 pixels, Yang et al., 2021, arXiv:2110.14795.

3-D variants differ in the convolution alone: `acs` splits 2-D kernels over the three planes (Yang et al., 2019,
arXiv:1911.10477), `2.5d` has kernels 1 x k x k, `3d` has kernels k x k x k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

Kind = Literal["2d", "acs", "2.5d", "3d"]
Convolution = Callable[[int, int, int, int, int], nn.Module]
STAGES = {18: ((2, 2, 2, 2), False), 50: ((3, 4, 6, 3), True)}


def medmnist_resnet(depth: int = 18, kind: Kind = "2d", num_classes: int = 2, in_channels: int = 3) -> nn.Module:
    """Return ResNet-18 or -50 with a 3x3 stem and no max-pool.

    Input [n, in_channels, h, w], for the 3-D kinds [n, in_channels, d, h, w]; output logits [n, num_classes].
    """
    if depth not in STAGES:
        raise ValueError(f"depth must be one of {', '.join(map(str, STAGES))}, not {depth}")
    return _SmallResNet(depth, kind, num_classes, in_channels)


class _ACSConv(nn.Module):
    """2-D kernels [out, in, k, k]; a third of the output channels slides in each of the three planes of the volume."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        third, rest = divmod(outputs, 3)
        self.split = [third + (rest > 0), third + (rest > 1), third]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p, s = self.padding, self.stride
        a, c, g = self.weight.split(self.split)
        axial = F.conv3d(x, a.unsqueeze(2), stride=s, padding=(0, p, p))
        coronal = F.conv3d(x, c.unsqueeze(3), stride=s, padding=(p, 0, p))
        sagittal = F.conv3d(x, g.unsqueeze(4), stride=s, padding=(p, p, 0))
        return torch.cat([axial, coronal, sagittal], 1)


def _convolution(kind: Kind) -> Convolution:
    def flat(i: int, o: int, k: int, s: int, p: int) -> nn.Module:
        return nn.Conv2d(i, o, k, s, p, bias=False)

    def planar(i: int, o: int, k: int, s: int, p: int) -> nn.Module:
        return nn.Conv3d(i, o, (1, k, k), s, (0, p, p), bias=False)

    def solid(i: int, o: int, k: int, s: int, p: int) -> nn.Module:
        return nn.Conv3d(i, o, k, s, p, bias=False)

    kinds: dict[Kind, Convolution] = {"2d": flat, "acs": _ACSConv, "2.5d": planar, "3d": solid}
    return kinds[kind]


class _Block(nn.Module):
    def __init__(self, conv: Convolution, norm: type[nn.Module], inputs: int, planes: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        outputs = planes * 4 if bottleneck else planes
        first = (inputs, planes, 1, 1, 0) if bottleneck else (inputs, planes, 3, stride, 1)
        second = (planes, planes, 3, stride, 1) if bottleneck else (planes, planes, 3, 1, 1)
        self.conv1, self.bn1 = conv(*first), norm(planes)
        self.conv2, self.bn2 = conv(*second), norm(planes)
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv3, self.bn3 = conv(planes, outputs, 1, 1, 0), norm(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride, 0), norm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + self.shortcut(x))


class _SmallResNet(nn.Module):
    def __init__(self, depth: int, kind: Kind, num_classes: int, in_channels: int) -> None:
        super().__init__()
        conv = _convolution(kind)
        norm = nn.BatchNorm2d if kind == "2d" else nn.BatchNorm3d
        repeats, bottleneck = STAGES[depth]
        self.conv1, self.bn1 = conv(in_channels, 64, 3, 1, 1), norm(64)
        inputs = 64
        stages = []
        for number, (planes, count) in enumerate(zip((64, 128, 256, 512), repeats, strict=True), 1):
            blocks = []
            for position in range(count):
                stride = 2 if number > 1 and position == 0 else 1
                blocks.append(_Block(conv, norm, inputs, planes, stride, bottleneck=bottleneck))
                inputs = planes * 4 if bottleneck else planes
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.flatten(2).mean(dim=2))
