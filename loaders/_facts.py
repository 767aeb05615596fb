"""What model repos and libraries say about a model, as columns of its entry."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from securitynet.entry import Entry
from securitynet.errors import LoadError
from securitynet.loaders._labels import label_names

Facts = dict[str, Any]
RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # in the order of PIL's numbers


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises LoadError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(value, dict):
        raise LoadError(f"{path}: must hold a JSON object, not a {type(value).__name__}")
    return value


def complete(entry: Entry, facts: Mapping[str, Any]) -> Entry:
    """Return the entry with the columns that it leaves open taken from `facts`."""
    typed = Entry.from_record({**facts, "id": entry.id})
    return replace(entry, **{key: getattr(typed, key) for key in facts if getattr(entry, key) is None})


def timm_preprocessing(config: Mapping[str, Any]) -> Facts:
    """Return the columns of timm's `pretrained_cfg` (as a mapping) that say what the network takes."""
    size, share = config.get("input_size"), config.get("crop_pct") or 1.0
    facts: Facts = {name: config.get(name) for name in ("mean", "std", "interpolation")}
    if isinstance(size, list | tuple) and len(size) == 3:
        facts |= {"input_size": list(size), "channels": size[0]}
        facts["resize"] = math.floor(size[-1] / share) if share != 1.0 else None
    facts["crop"] = config.get("crop_mode") or "center"
    facts["licence"] = config.get("license")
    return facts


def timm_folder(config: Mapping[str, Any]) -> Facts:
    """Return the columns that the config.json of a model repo in timm's format gives."""
    inner = config.get("pretrained_cfg") or config
    arguments = {name: value for name, value in (config.get("model_args") or {}).items() if name != "num_classes" and value is not None}
    facts = timm_preprocessing(inner)
    facts |= {
        "loader": "timm",
        "architecture": f"timm:{config['architecture']}",
        "architecture_args": arguments or None,
        "num_classes": config.get("num_classes", inner.get("num_classes")),
    }
    return facts


def transformers_folder(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Facts:
    """Return the columns that config.json and preprocessor_config.json of a model repo in transformers' format give."""
    names = label_names(config)
    kinds = config.get("architectures") or []
    facts: Facts = {
        "loader": "transformers",
        "architecture": f"transformers:{kinds[0]}" if kinds else None,
        "family": config.get("model_type"),
        "num_classes": len(names) or config.get("num_labels"),
        "class_map": "background-first" if len(names) == 1001 and names[0].lower() == "background" else None,
    }
    return facts | _geometry(config, preprocessor) | _normalisation(preprocessor)


def _geometry(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Facts:
    """Input size, resize and crop. A size of two sides is a squash, a shortest edge keeps the proportions."""
    size = preprocessor.get("size") if preprocessor.get("do_resize", True) else None
    edge = size if isinstance(size, int) else (size or {}).get("shortest_edge")
    sides = _sides(size)
    crop = _sides(preprocessor.get("crop_size")) if preprocessor.get("do_center_crop") else None
    if (share := preprocessor.get("crop_pct")) and edge:  # as ConvNeXt does: below 384 pixels it crops, from there on it squashes
        crop, sides, edge = ((edge, edge), None, math.floor(edge / share)) if edge < 384 else (None, (edge, edge), None)
    final = crop or sides or (edge and (edge, edge))
    if not final:
        return {}
    channels, number = config.get("num_channels", 3), preprocessor.get("resample", 2)
    return {
        "input_size": [channels, *final],
        "channels": channels,
        "resize": edge if edge != min(final) else None,
        "crop": "squash" if sides and not crop else "center",
        "interpolation": RESAMPLING[number] if isinstance(number, int) and 0 <= number < len(RESAMPLING) else None,
    }


def _sides(size: Any) -> tuple[int, int] | None:
    """Height and width of a size as preprocessors write it."""
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return size["height"], size["width"]
    return None


def _normalisation(preprocessor: Mapping[str, Any]) -> Facts:
    """Scale, mean and deviation for pixels in [0,1]; preprocessors start from 0..255."""
    factor = preprocessor.get("rescale_factor", 1 / 255) if preprocessor.get("do_rescale", True) else 1.0
    scale = factor * 255
    shift = 1.0 if preprocessor.get("rescale_offset") else 0.0
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if not preprocessor.get("do_normalize", mean is not None) or mean is None or std is None:
        mean, std = [0.0], [1.0]
    twice = 2 if preprocessor.get("include_top") else 1  # EfficientNet divides by the deviation once more
    return {
        "scale": None if abs(scale - 1) < 1e-6 else scale,
        "mean": [shift + value for value in mean],
        "std": [value**twice for value in std],
        "channel_order": "BGR" if preprocessor.get("do_flip_channel_order") else None,
    }
