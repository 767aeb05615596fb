"""A model as a complete Hub model repo in timm's format: config.json, model.safetensors, README.md."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from securitynet.entry import Entry
from securitynet.errors import UsageError

WEIGHTS = "model.safetensors"


def create(entry: Entry) -> nn.Module:
    """Return timm's network of an entry `timm:NAME`, with fresh weights, whose config states the entry's own preprocessing."""
    import timm

    size = entry.input_size or (3, 224, 224)
    none = dict.fromkeys(("url", "hf_hub_id", "origin_url", "test_input_size", "test_crop_pct"))
    facts = {"tag": entry.name, "license": (entry.licence or "").lower(), "input_size": size, "mean": entry.mean, "std": entry.std}
    sampling = timm_geometry(entry)
    arguments = {**entry.arguments, "num_classes": entry.num_classes, "pretrained_cfg_overlay": {**none, **facts, **sampling}}
    network: Any = timm.create_model((entry.architecture or "").removeprefix("timm:"), pretrained=False, **arguments)
    with torch.inference_mode():
        features = network.eval().forward_features(torch.zeros(1, *size))
    network.pretrained_cfg["pool_size"] = tuple(features.shape[2:])
    made: nn.Module = network
    return made


def timm_geometry(entry: Entry) -> dict[str, Any]:
    """Return the keys of timm's config with which timm and transformers feed the pixels of an entry.

    Raises UsageError for a rule that timm has not.
    """
    settings = json.loads(entry.processor) if entry.processor else {}
    if settings.pop("library", None) == "timm":
        return settings
    if entry.crop == "center" and entry.resize is None:
        raise UsageError(f"{entry.id}: timm's config cannot say that images are cut without being scaled; state resize")
    side = min((entry.input_size or (0, 224, 224))[1:])
    share = side / entry.resize if entry.resize else 1.0
    if entry.resize and math.floor(side / share) != entry.resize:
        share = side / (entry.resize + 0.25)  # timm divides again, and a rounding error would cost a pixel
    return {"interpolation": entry.interpolation or "bilinear", "crop_mode": entry.crop or "center", "crop_pct": share}


def write(folder: Path, network: nn.Module, label_names: Sequence[str]) -> None:
    """Write weights and config of a network made by create() into `folder`.

    timm records `num_classes` among the constructor's arguments too; transformers refuses the model then, so it is dropped.
    """
    from timm.models import save_for_hf

    names = {"label_names": list(label_names)} if label_names else None
    save_for_hf(network, str(folder), model_config=names, safe_serialization=True)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.get("model_args", {}).pop("num_classes", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_card(folder: Path, entry: Entry, text: str, tags: Sequence[str]) -> None:
    """Write README.md: front matter from the entry (its claim becomes the model-index), then `text`."""
    from huggingface_hub import EvalResult, ModelCardData

    result = EvalResult(
        task_type="image-classification",
        dataset_type=entry.dataset or "unknown",
        dataset_name=entry.dataset or "unknown",
        dataset_split=entry.claimed_split,
        metric_type="accuracy",
        metric_name="accuracy",
        metric_value=entry.claimed_accuracy,
    )
    data = ModelCardData(
        license=(entry.licence or "").lower(),
        library_name="timm",
        pipeline_tag="image-classification",
        datasets=[entry.dataset or "unknown"],
        tags=list(tags),
        model_name=entry.name,
        eval_results=None if entry.claimed_accuracy is None else [result],
    )
    (folder / "README.md").write_text(f"---\n{data.to_yaml()}\n---\n\n{text.rstrip()}\n", encoding="utf-8")


def parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.inference_mode()
def macs(network: nn.Module, input_size: Sequence[int]) -> int:
    """Return the multiply-accumulate operations of convolutions and linear layers for one image of `input_size`."""
    count = 0

    def add(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal count
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        positions = output[0, 0].numel() if isinstance(layer, nn.Conv2d) else output[0].numel() // output.shape[-1]
        count += weight.numel() * positions

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    network.eval()(torch.zeros(1, *input_size))
    for hook in hooks:
        hook.remove()
    return count
