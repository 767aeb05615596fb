"""Vision transformer behind a stem of several convolutions, Singh et al., 2023, arXiv:2303.01870."""

from __future__ import annotations

from torch import nn

from securitynet.loaders.nets.conv_stem_convnext import conv_stem


def conv_stem_vit(
    width: int = 384, heads: int = 6, depth: int = 12, stem: int = 48, size: int = 224, num_classes: int = 1000, in_channels: int = 3
) -> nn.Module:
    """Return timm's ViT with patches of 16 whose embedding is four (conv 3x3 of stride 2, layer norm, GELU) and a 1x1 convolution.

    `stem`: channels of the first convolution, doubled by each of the others. Keys are those of timm, `patch_embed.proj.0.weight`, ... for
    the stem. Input [n, in_channels, size, size], output logits [n, num_classes].
    """
    from timm.models.vision_transformer import VisionTransformer

    network = VisionTransformer(
        img_size=size, patch_size=16, in_chans=in_channels, num_classes=num_classes, embed_dim=width, depth=depth, num_heads=heads
    )
    channels = tuple(stem * 2**step for step in range(4))
    layers = conv_stem((in_channels, *channels), strides=4)
    network.patch_embed.proj = layers.append(nn.Conv2d(channels[-1], width, 1))
    return network
