"""Families of architectures: one table over all sources.

Libraries group networks by module (`byobnet`, `maxxvit`) and spell one family in several ways; here the family is that of the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SPELLINGS = {  # another spelling, and the family's name
    "airnext": "airnet", "bninception": "inception", "convnextv": "convnext_v2", "convnextv2": "convnext_v2", "darknet53": "darknet",
    "diracnetv2": "diracnet", "drn_c": "drn", "efficientnetedge": "efficientnet", "efficientnet_v2": "efficientnetv2",
    "efficientnetlite": "efficientnet", "googlenet": "inception", "ibnbresnet": "ibnresnet", "inception_v1": "inception",
    "inceptionresnetv1": "inception_resnet_v1", "inceptionresnetv2": "inception_resnet_v2", "inceptionv3": "inception_v3",
    "inceptionv4": "inception_v4", "mobilenet_v1": "mobilenet", "mobilenet_v2": "mobilenetv2", "mobilenet_v3": "mobilenetv3",
    "mobilenetb": "mobilenet", "mvitv2": "mvit_v2", "preactresnet": "preresnet", "resnesta": "resnest", "resneta": "resnet",
    "resnetd": "resnet", "se_resnet": "seresnet", "se_resnext": "seresnext", "shufflenetv2b": "shufflenetv2", "swin": "swin_transformer",
    "swinv2": "swin_transformer_v2", "tnt": "transformer_in_transformer", "vit": "vision_transformer", "wide_resnet": "wrn",
    "wideresnet": "wrn",
}  # fmt: skip
NAMES = (  # how names of timm, torchvision and mmpretrain begin, the longer beginnings first
    (r"vit-.*eva02", "eva02"), (r"beit3", "beit3"), (r"beit", "beit"), (r"bat_resnext", "resnext"),
    (r"botnet|sebotnet|eca_botnext", "botnet"),
    (r"caformer|convformer|poolformer", "metaformer"), (r"coatn", "coatnet"), (r"convnext-?v2", "convnext_v2"),
    (r"cs3|cspdarknet|cspresnet|cspresnext", "cspnet"), (r"darknet", "darknet"), (r"(dm_|eca_|nf_)?nfnet|nf_", "nfnet"),
    (r"eca_halonext|halo|sehalonet", "halonet"), (r"ecaresnet|eca_resnet", "ecaresnet"), (r"eca_resnext", "ecaresnext"),
    (r"efficientnet-?v2|tf_efficientnetv2|gc_efficientnetv2", "efficientnetv2"), (r"(tf_)?efficientnet", "efficientnet"),
    (r"efficientvit_[bl]\d", "efficientvit_mit"), (r"efficientvit_m\d", "efficientvit_msra"), (r"eva02", "eva02"), (r"eva_", "eva"),
    (r"fbnet", "fbnet"), (r"gcresnet", "gcresnet"), (r"gcresnext", "gcresnext"), (r"gernet", "gernet"), (r"gmixer", "mlp_mixer"),
    (r"gmlp", "gmlp"), (r"lambda", "lambdanet"), (r"lamhalobotnet", "lambdanet"), (r"lcnetv2", "lcnetv2"), (r"lcnet", "lcnet"),
    (r"legacy_senet", "senet"), (r"legacy_seresnext", "seresnext"), (r"legacy_seresnet", "seresnet"), (r"legacy_xception", "xception"),
    (r"maxvit", "maxvit"), (r"maxxvit", "maxxvit"), (r"mixnet|tf_mixnet", "mixnet"), (r"mobilenetv4", "mobilenetv4"),
    (r"mobilenet_?v2", "mobilenetv2"), (r"(tf_)?mobilenet_?v3", "mobilenetv3"), (r"mobilenetv1|mobilenet_", "mobilenet"),
    (r"mobileone", "mobileone"), (r"mobilevitv2", "mobilevitv2"), (r"regnet", "regnet"), (r"repvgg", "repvgg"), (r"resmlp", "resmlp"),
    (r"res2ne[tx]", "res2net"), (r"resnetv2", "resnetv2"), (r"resnet(aa|blur|rs|v1|\d|_)", "resnet"), (r"resnext", "resnext"),
    (r"(se)?mnasnet", "mnasnet"), (r"senet", "senet"), (r"seresnext", "seresnext"), (r"seresnet", "seresnet"),
    (r"skresne[tx]", "sknet"), (r"spnasnet", "spnasnet"), (r"swin-?v2", "swin_transformer_v2"), (r"swin", "swin_transformer"),
    (r"tinynet", "tinynet"), (r"wide-?_?resnet", "wrn"), (r"vit|flexivit", "vision_transformer"), (r"xception\d", "xception"),
)  # fmt: skip


def family_of(stated: str | None, name: str | None = None) -> str | None:
    """Return the family of a network: by the beginning of its library's `name` where the table knows that, else `stated`, spelled right."""
    for pattern, family in NAMES if name else ():
        if re.match(pattern, name or "", re.IGNORECASE):
            return family
    return SPELLINGS.get(stated, stated) if stated else stated


def name_in_library(record: Mapping[str, Any]) -> str | None:
    """Return the name by which NAMES knows a model: that of timm or torchvision, or that of mmpretrain; None for others."""
    library, _, name = str(record.get("architecture") or "").partition(":")
    if record.get("source") == "mmpretrain":
        return str(record["name"])
    return name if library in ("timm", "torchvision") and record.get("source") in ("timm", "torchvision") else None
