"""Pre-activation ResNet for 32x32 images, He et al., 2016, arXiv:1603.05027, with the variants of adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from securitynet.loaders.nets._parts import Activation, Conv3x3, Padding, activation


def preact_resnet(
    depths: tuple[int, ...] = (2, 2, 2, 2),
    widths: tuple[int, ...] = (64, 128, 256, 512),
    block: Literal["basic", "bottleneck"] = "basic",
    activations: Activation = "relu",
    padding: Padding = "even",
    shortcut: Literal["input", "activated", "always_activated"] = "activated",
    shortcut_size: int = 1,
    shortcut_norm: bool = False,
    stem_norm: bool = False,
    final_norm: bool = True,
    affine: bool = True,
    conv_head: bool = False,
    num_classes: int = 10,
    in_channels: int = 3,
) -> nn.Module:
    """Return the network with a stem of 64 channels and stages of `depths` blocks and `widths` channels (four times as many with
    bottlenecks).

    `shortcut`: what is projected where the shape changes, the block's input or its activation; `always_activated`: where it does not
    change as well. `shortcut_size`: 1 or 3, of the projection. `stem_norm`, `final_norm`: batch norm and activation behind the stem, and
    before the pooling. `affine`: batch norms have weights. `conv_head`: the classifier is a 1x1 convolution without bias. `padding`: see
    Conv3x3. Input [n, in_channels, h, w], output logits [n, num_classes]. Raises ValueError where depths and widths do not fit.
    """
    if len(widths) != len(depths):
        raise ValueError(f"depths and widths must be equally many, not {len(depths)} and {len(widths)}")
    form = _Form(activation(activations), padding, shortcut, shortcut_size, shortcut_norm, affine)
    kind, growth = (_Basic, 1) if block == "basic" else (_Bottleneck, 4)
    stages, inputs = [], 64
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        blocks = []
        for i in range(depth):
            blocks.append(kind(inputs, width, 2 if stage and not i else 1, form))
            inputs = width * growth
        stages.append(nn.Sequential(*blocks))
    head = nn.Conv2d(inputs, num_classes, 1, bias=False) if conv_head else nn.Linear(inputs, num_classes)
    return _PreActResNet(in_channels, stages, head, form, stem_norm, final_norm)


@dataclass(frozen=True)
class _Form:
    """What all blocks share."""

    activation: nn.Module
    padding: Padding
    source: str
    size: int
    norm: bool
    affine: bool

    def norm_of(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, affine=self.affine)

    def shortcut(self, inputs: int, outputs: int, stride: int) -> nn.Module | None:
        if stride == 1 and inputs == outputs:
            return None
        large = self.size == 3
        conv = Conv3x3(inputs, outputs, stride, self.padding) if large else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        return nn.Sequential(conv, self.norm_of(outputs)) if self.norm else nn.Sequential(conv)


class _Block(nn.Module):
    """y = shortcut + body(activation); the body is that of the two kinds."""

    def __init__(self, inputs: int, outputs: int, stride: int, form: _Form) -> None:
        super().__init__()
        self.source, self.activation = form.source, form.activation
        self.bn1, self.shortcut = form.norm_of(inputs), form.shortcut(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation(self.bn1(x))
        if self.shortcut is None:
            return self.body(y) + (y if self.source == "always_activated" else x)
        return self.body(y) + self.shortcut(x if self.source == "input" else y)

    def body(self, y: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class _Basic(_Block):
    def __init__(self, inputs: int, width: int, stride: int, form: _Form) -> None:
        super().__init__(inputs, width, stride, form)
        self.conv1, self.bn2 = Conv3x3(inputs, width, stride, form.padding), form.norm_of(width)
        self.conv2 = Conv3x3(width, width)

    def body(self, y: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.activation(self.bn2(self.conv1(y))))


class _Bottleneck(_Block):
    def __init__(self, inputs: int, width: int, stride: int, form: _Form) -> None:
        super().__init__(inputs, 4 * width, stride, form)
        self.conv1, self.bn2 = nn.Conv2d(inputs, width, 1, bias=False), form.norm_of(width)
        self.conv2, self.bn3 = Conv3x3(width, width, stride, form.padding), form.norm_of(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)

    def body(self, y: torch.Tensor) -> torch.Tensor:
        return self.conv3(self.activation(self.bn3(self.conv2(self.activation(self.bn2(self.conv1(y)))))))


class _PreActResNet(nn.Module):
    def __init__(
        self, in_channels: int, stages: list[nn.Sequential], head: nn.Conv2d | nn.Linear, form: _Form, stem_norm: bool, final_norm: bool
    ) -> None:
        super().__init__()
        self.activation = form.activation
        self.conv1 = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)
        self.bn1 = form.norm_of(64) if stem_norm else None
        self.layers = nn.ModuleList(stages)
        self.bn = form.norm_of(head.weight.shape[1]) if final_norm else None
        self.linear = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        x = x if self.bn1 is None else self.activation(self.bn1(x))
        for stage in self.layers:
            x = stage(x)
        x = x if self.bn is None else self.activation(self.bn(x))
        if isinstance(self.linear, nn.Conv2d):
            return self.linear(F.adaptive_avg_pool2d(x, 1)).flatten(1)
        return self.linear(x.mean(dim=(2, 3)))
