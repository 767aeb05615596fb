"""torchvision's residual blocks behind a 3x3 stem, with any number of stages: ResNet and ResNeXt for 32x32 images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


def wide_stem_resnet(
    depths: tuple[int, ...] = (2, 2, 2, 2),
    widths: tuple[int, ...] = (64, 128, 256, 512),
    block: Literal["basic", "bottleneck"] = "basic",
    groups: int = 1,
    group_width: int = 64,
    num_classes: int = 10,
    in_channels: int = 3,
) -> nn.Module:
    """Return the network whose stem has the channels of the first stage, without a max-pool; keys are those of torchvision.

    `groups` and `group_width` are those of ResNeXt (Xie et al., 2017, arXiv:1611.05431). Input [n, in_channels, h, w], output logits
    [n, num_classes]. Raises ValueError where depths and widths do not fit.
    """
    from torchvision.models.resnet import BasicBlock, Bottleneck

    if len(widths) != len(depths):
        raise ValueError(f"depths and widths must be equally many, not {len(depths)} and {len(widths)}")
    kind: type[BasicBlock | Bottleneck] = BasicBlock if block == "basic" else Bottleneck
    inputs, stages = widths[0], []
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        blocks = []
        for i in range(depth):
            stride, outputs = 2 if stage and not i else 1, width * kind.expansion
            new = stride > 1 or inputs != outputs
            change = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)) if new else None
            blocks.append(kind(inputs, width, stride, change, groups, group_width))
            inputs = outputs
        stages.append(nn.Sequential(*blocks))
    return _ResNet(in_channels, widths[0], stages, nn.Linear(inputs, num_classes))


class _ResNet(nn.Module):
    def __init__(self, in_channels: int, width: int, stages: list[nn.Sequential], head: nn.Linear) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.stages = len(stages)
        for number, stage in enumerate(stages, 1):
            self.add_module(f"layer{number}", stage)
        self.fc = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x)).relu()
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(x.mean(dim=(2, 3)))
