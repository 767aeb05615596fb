"""Wide ResNet for 32x32 images, Zagoruyko and Komodakis, 2016, arXiv:1605.07146, with the variants of adversarial training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from securitynet.loaders.nets._parts import Activation, Conv3x3, MeanSparse, Padding, Squeeze, activation


def wide_resnet(
    depths: tuple[int, ...] = (4, 4, 4),
    widths: tuple[int, ...] = (16, 160, 320, 640),
    activations: Activation = "relu",
    padding: Padding = "even",
    squeeze: float = 0.0,
    mean_sparse: bool = False,
    cosine: bool = False,
    standardise: bool = False,
    num_classes: int = 10,
    in_channels: int = 3,
) -> nn.Module:
    """Return the network with `depths` blocks of `widths` channels per stage, the stem's first: (4, 4, 4) of 160, 320, 640 is WRN-28-10.

    `padding`: see Conv3x3. `squeeze`: hidden channels of squeeze and excitation behind each block's convolutions, as a share of its
    channels; 0 for none. `mean_sparse`: Amini et al., 2024, arXiv:2406.05927. `cosine`: features and class weights of length 1, no bias
    (Pang et al., 2020, arXiv:2002.08619). `standardise`: each image has mean 0 and variance 1 before the stem (Ding et al., 2020,
    arXiv:1812.02637). Input [n, in_channels, h, w], output logits [n, num_classes]. Raises ValueError where depths and widths do not fit.
    """
    if len(widths) != len(depths) + 1:
        raise ValueError(f"widths must have one number more than depths, that of the stem; not {len(widths)} and {len(depths)}")
    network = _WideResNet(widths, num_classes, in_channels, cosine, standardise)
    act = activation(activations)
    for stage, (depth, (inputs, outputs)) in enumerate(zip(depths, pairwise(widths), strict=True), 1):
        blocks = [
            _Block(inputs if not i else outputs, outputs, 2 if stage > 1 and not i else 1, act, padding, squeeze, mean_sparse)
            for i in range(depth)
        ]
        network.add_module(f"block{stage}", _stage(blocks))
    network.finish(act, mean_sparse)
    return network


def _stage(blocks: Sequence[nn.Module]) -> nn.Module:
    stage = nn.Sequential()
    stage.add_module("layer", nn.Sequential(*blocks))
    return stage


def _sparse(channels: int, wanted: bool) -> nn.Module:
    return MeanSparse(channels) if wanted else nn.Identity()


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, act: nn.Module, padding: Padding, squeeze: float, mean_sparse: bool) -> None:
        super().__init__()
        self.activation = act
        self.bn1, self.meansparse_0 = nn.BatchNorm2d(inputs), _sparse(inputs, mean_sparse)
        self.conv1 = Conv3x3(inputs, outputs, stride, padding)
        self.bn2, self.meansparse_1 = nn.BatchNorm2d(outputs), _sparse(outputs, mean_sparse)
        self.conv2 = Conv3x3(outputs, outputs)
        self.se = Squeeze(outputs, round(squeeze * outputs)) if squeeze else nn.Identity()
        self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None
        self.meansparse_2 = _sparse(outputs, mean_sparse)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.activation(self.meansparse_0(self.bn1(x)))
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        y = self.activation(self.meansparse_1(self.bn2(self.conv1(y))))
        return self.meansparse_2(shortcut + self.se(self.conv2(y)))


class _WideResNet(nn.Module):
    def __init__(self, widths: tuple[int, ...], num_classes: int, in_channels: int, cosine: bool, standardise: bool) -> None:
        super().__init__()
        self.width, self.cosine, self.standardise = widths[-1], cosine, standardise
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(self.width)
        self.fc = nn.Linear(self.width, num_classes, bias=not cosine)

    def finish(self, act: nn.Module, mean_sparse: bool) -> None:
        """Add what comes behind the stages."""
        self.meansparse_end, self.activation = _sparse(self.width, mean_sparse), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(_standardised(x) if self.standardise else x)
        for name, stage in self.named_children():
            x = stage(x) if name.startswith("block") else x
        x = self.activation(self.meansparse_end(self.bn1(x))).mean(dim=(2, 3))
        return F.linear(F.normalize(x), F.normalize(self.fc.weight)) if self.cosine else self.fc(x)


def _standardised(x: torch.Tensor) -> torch.Tensor:
    deviation, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True)
    return (x - mean) / deviation.clamp_min(x[0].numel() ** -0.5)
