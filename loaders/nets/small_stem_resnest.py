"""ResNeSt for 32x32 images, Zhang et al., 2020, arXiv:2004.08955: timm's, without stride and max-pool in the stem, with SiLU throughout."""

from __future__ import annotations

from torch import nn


def small_stem_resnest(
    depths: tuple[int, ...] = (3, 8, 36, 3), radix: int = 4, stem: int = 64, num_classes: int = 10, in_channels: int = 3
) -> nn.Module:
    """Return the network with `radix` splits per group and a stem of three convolutions of `stem` channels; keys are those of timm.

    Input [n, in_channels, h, w], output logits [n, num_classes].
    """
    from timm.models.resnest import ResNestBottleneck
    from timm.models.resnet import ResNet

    network = ResNet(
        ResNestBottleneck, depths, num_classes, in_channels, stem_type="deep", stem_width=stem, avg_down=True, act_layer=nn.SiLU,
        block_args={"radix": radix, "avd": True, "avd_first": False},
    )  # fmt: skip
    network.conv1[0].stride, network.maxpool = (1, 1), nn.Identity()
    for block in network.modules():
        if isinstance(block, ResNestBottleneck):  # which has ReLU there whatever it is given
            block.conv2.act0, block.conv2.act1 = nn.SiLU(), nn.SiLU()
    return network
