"""ResNet for 224x224 images as it was published before torchvision, He et al., 2015, arXiv:1512.03385: in Caffe, and in Lua's Torch."""

from __future__ import annotations

from typing import Literal

from torch import nn


def early_resnet(
    depths: tuple[int, ...] = (3, 4, 23, 3), form: Literal["caffe", "torch"] = "caffe", num_classes: int = 1000, in_channels: int = 3
) -> nn.Module:
    """Return torchvision's network of bottlenecks, changed into that of the authors or of Facebook's Torch.

    `caffe`: the first convolution of a block has the stride, and the max-pool keeps the rest of a side that it does not fit. `torch`:
    every convolution has a bias. Keys are those of torchvision. Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    from torchvision.models.resnet import Bottleneck, ResNet

    network = ResNet(Bottleneck, list(depths), num_classes)
    network.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
    if form == "caffe":
        network.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for block in network.modules():
            if isinstance(block, Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
        return network
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.bias = nn.Parameter(part.weight.new_zeros(part.out_channels))
    return network
