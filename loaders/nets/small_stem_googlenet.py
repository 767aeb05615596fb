"""torchvision's GoogLeNet for small images: one 3x3 convolution as stem, and padded 3x3 pooling between the stages."""

from __future__ import annotations

from torch import nn


def small_stem_googlenet(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Return the network for 32x32 images, without auxiliary heads; keys are those of torchvision.

    Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    from torchvision.models import GoogLeNet
    from torchvision.models.googlenet import BasicConv2d

    network: nn.Module = GoogLeNet(num_classes=num_classes, aux_logits=False, init_weights=False)
    network.conv1 = BasicConv2d(in_channels, 192, kernel_size=3, padding=1)
    for name in ("maxpool1", "conv2", "conv3", "maxpool2"):
        setattr(network, name, nn.Identity())
    network.maxpool3 = nn.MaxPool2d(3, 2, 1)
    network.maxpool4 = nn.MaxPool2d(3, 2, 1)
    return network
