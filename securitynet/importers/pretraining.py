"""What the name of a published model says of its pretraining: by which method, and on which other data.

Names of timm and mmpretrain are made of words that their documentation explains; only those words are read here.
"""

from __future__ import annotations

import re

METHODS = (  # a part of the name, and the method
    (r"mocov3", "MoCo v3"), (r"mocov2", "MoCo v2"), (r"simmim", "SimMIM"), (r"byol", "BYOL"), (r"barlowtwins", "Barlow Twins"),
    (r"swav", "SwAV"), (r"simclr", "SimCLR"), (r"simsiam", "SimSiam"), (r"densecl", "DenseCL"), (r"cae", "CAE"), (r"maskfeat", "MaskFeat"),
    (r"milan", "MILAN"), (r"mixmim-pre", "MixMIM"), (r"spark", "SparK"), (r"mff", "MFF"), (r"fcmae", "FCMAE"), (r"beitv2", "BEiT v2"),
    (r"eva-mae-style", "EVA"), (r"eva02", "EVA-02"), (r"mae", "MAE"), (r"beit3", "BEiT-3"), (r"eva", "EVA"), (r"beit", "BEiT"),
    (r"cn-clip|clip|siglip", "CLIP"), (r"dinov2", "DINOv2"), (r"dino", "DINO"), (r"seer", "SEER"), (r"swag", "SWAG"), (r"swsl", "SWSL"),
    (r"ssl", "SSL"), (r"wsl", "WSL"), (r"ssld", "SSLD"), (r"distill", "distillation"),
)  # fmt: skip
DATA = (
    (r"laion2b", "LAION-2B"), (r"laiona", "LAION-A"), (r"openai", "WIT-400M"), (r"webli", "WebLI"), (r"in21k|in22k", "ImageNet-21k"),
    (r"in12k", "ImageNet-12k"), (r"30m", "Merged-30M"), (r"m30m", "Merged-30M"), (r"m38m", "Merged-38M"), (r"meg73m", "MegData-73M"),
)  # fmt: skip


def method_of(name: str) -> str | None:
    """Return the method by which the weights of a model of this name were pretrained, None where the name has none of the words."""
    words = re.split(r"[_./-]", name.lower())
    for pattern, method in METHODS:
        if any(re.fullmatch(pattern, word) for word in words) or ("-" in pattern and re.search(rf"(^|_)({pattern})", name.lower())):
            return method
    return None


def data_of(name: str, dataset: str | None) -> str | None:
    """Return the data of an mmpretrain name (`..._in21k-pre_...`) as the text of `extra_data`; never the model's own dataset."""
    stages = [part for part in name.lower().split("_") if "-pre" in part or part.endswith("-medft")]
    words = re.split(r"[_-]", "_".join(stages)) + (["m38m"] if "_m38m-pre" in name else [])
    found = [data for pattern, data in DATA if any(re.fullmatch(pattern, word) for word in words)]
    return extra_data(found, dataset)


def extra_data(found: list[str], dataset: str | None) -> str | None:
    """Return `pretrained on A, B` of datasets in order, without the model's own and without repeats; None where none is left."""
    own = {str(dataset).casefold()}
    left = [name for name in dict.fromkeys(found) if name.casefold() not in own]
    return f"pretrained on {', '.join(left)}" if left else None
