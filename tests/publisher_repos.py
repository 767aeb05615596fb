"""Small model repos of many families, made by the libraries' own save functions, and what the libraries themselves feed them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

LABELS = {"id2label": {0: "oak", 1: "beech", 2: "larch"}, "label2id": {"oak": 0, "beech": 1, "larch": 2}}
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {  # name: config class, arguments
    "vit": ("ViTConfig", {"image_size": 64, "patch_size": 16, **TINY}),
    "deit": ("DeiTConfig", {"image_size": 64, "patch_size": 16, **TINY}),
    "deit-teacher": ("DeiTConfig", {"image_size": 64, "patch_size": 16, **TINY}),
    "beit": ("BeitConfig", {"image_size": 64, "patch_size": 16, **TINY}),
    "data2vec": ("Data2VecVisionConfig", {"image_size": 64, "patch_size": 16, **TINY}),
    "vit-msn": ("ViTMSNConfig", {"image_size": 64, "patch_size": 16, **TINY}),
    "ijepa": ("IJepaConfig", {"image_size": 64, "patch_size": 16, **TINY}),
    "dinov2": ("Dinov2Config", {"image_size": 56, "patch_size": 14, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}),
    "dinov2-registers": (
        "Dinov2WithRegistersConfig",
        {"image_size": 56, "patch_size": 14, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    ),
    "swin": ("SwinConfig", {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}),
    "swinv2": ("Swinv2Config", {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}),
    "hiera": ("HieraConfig", {"image_size": [64, 64], "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 2, 2], "num_query_pool": 2}),
    "focalnet": ("FocalNetConfig", {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "focal_levels": [2, 2], "focal_windows": [3, 3]}),
    "convnext": ("ConvNextConfig", {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4}),
    "convnextv2": ("ConvNextV2Config", {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4}),
    "resnet": ("ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}),
    "regnet": ("RegNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8}),
    "cvt": ("CvtConfig", {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 2, 3]}),
    "bit": ("BitConfig", {"embedding_size": 8, "hidden_sizes": [32, 32], "depths": [1, 1], "num_groups": 4}),
    "poolformer": ("PoolFormerConfig", {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4}),
    "pvt": ("PvtConfig", {"image_size": 64, "hidden_sizes": [8, 16, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}),
    "pvt-v2": ("PvtV2Config", {"image_size": 64, "hidden_sizes": [8, 16, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}),
    "mobilenet-v1": ("MobileNetV1Config", {"depth_multiplier": 0.25, "image_size": 96}),
    "mobilenet-v2": ("MobileNetV2Config", {"depth_multiplier": 0.35, "image_size": 96}),
    "mobilevit": (
        "MobileViTConfig",
        {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 16, 16, 32], "num_attention_heads": 2, "image_size": 128},
    ),
    "mobilevitv2": ("MobileViTV2Config", {"width_multiplier": 0.25, "image_size": 128}),
    "efficientnet": ("EfficientNetConfig", {"width_coefficient": 0.25, "depth_coefficient": 0.1, "image_size": 96, "hidden_dim": 320}),
    "levit": (
        "LevitConfig",
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 2], "depths": [1, 1, 1], "key_dim": [4, 4, 4]},
    ),
    "levit-teacher": (
        "LevitConfig",
        {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 2], "depths": [1, 1, 1], "key_dim": [4, 4, 4]},
    ),
    "swiftformer": ("SwiftFormerConfig", {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]}),
    "segformer": ("SegformerConfig", {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]}),
    "clip": (
        "CLIPConfig",
        {"vision_config": {"image_size": 64, "patch_size": 16, **TINY}, "text_config": {"vocab_size": 50, **TINY}},
    ),
    "siglip": (
        "SiglipConfig",
        {"vision_config": {"image_size": 64, "patch_size": 16, **TINY}, "text_config": {"vocab_size": 50, **TINY}},
    ),
    "perceiver": (
        "PerceiverConfig",
        {"image_size": 32, "num_latents": 4, "d_latents": 16, "d_model": 16, "num_blocks": 1, "num_self_attends_per_block": 1,
         "num_self_attention_heads": 2, "num_cross_attention_heads": 1},
    ),
}  # fmt: skip
CLASSES = {
    "perceiver": "PerceiverForImageClassificationConvProcessing",
    "deit": "DeiTForImageClassification",
    "levit": "LevitForImageClassification",
    "deit-teacher": "DeiTForImageClassificationWithTeacher",
    "levit-teacher": "LevitForImageClassificationWithTeacher",
}


def photographs() -> dict[str, Image.Image]:
    """Pictures that are not square: two photographs of scikit-learn, whole and in parts."""
    from sklearn.datasets import load_sample_images

    china, flower = map(Image.fromarray, load_sample_images().images)
    return {
        "wide": china,
        "tall": flower.crop((100, 0, 400, 427)),
        "small": china.resize((40, 31)),
        "odd": flower.crop((0, 0, 301, 203)),
    }


def write(folder: Path, family: str, processor: dict[str, Any] | None, **changes: Any) -> Path:
    """Save a classifier of a family by transformers, with `processor` as its preprocessor's config (None: without)."""
    import transformers

    name, arguments = FAMILIES[family]
    config = getattr(transformers, name)(**{**arguments, **LABELS, **changes})
    torch.manual_seed(0)
    if family in CLASSES:
        network = getattr(transformers, CLASSES[family])(config)
    else:
        network = transformers.AutoModelForImageClassification.from_config(config)
    network.save_pretrained(folder)
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def saved_processor(folder: Path, name: str, **settings: Any) -> None:
    """Write a processor's config by the library's own class."""
    import transformers

    getattr(transformers, name)(**settings).save_pretrained(folder)


def fed(folder: Path) -> Callable[[Image.Image], torch.Tensor]:
    """Return what the publisher's own code makes of a picture, [1, c, h, w]."""
    import timm
    import transformers

    if "model_type" not in json.loads((folder / "config.json").read_text()):
        network = timm.create_model(f"local-dir:{folder}")
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
        return lambda picture: transform(picture)[None]
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return lambda picture: torch.as_tensor(np.asarray(processor(picture, return_tensors="pt")["pixel_values"]))


def distances(target: Any, theirs: Callable[[Image.Image], torch.Tensor]) -> list[tuple[str, float, float]]:
    """Return the mean and the largest distance of what the target's network is fed, per picture, in units of 0..255."""
    from securitynet.data.transform import Transform

    rule, prepare = Transform.of(target.entry), target.module[0]
    found = []
    for name, picture in photographs().items():
        ours, expected = prepare(torch.from_numpy(rule(picture)).float().div(255)[None]), theirs(picture)
        assert ours.shape == expected.shape, (name, ours.shape, expected.shape)
        gap = ((ours - expected) * prepare.std * 255 / prepare.scale).abs()
        found.append((name, float(gap.mean()), float(gap.max())))
    return found
