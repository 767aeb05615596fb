"""What a repo's small files state of its input, where they state all of it: what they leave to defaults is read when it is loaded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from securitynet.entry import CHOICES
from securitynet.loaders._configs import LARGEST_SIDE
from securitynet.maintenance.records import Record

TIMM = ("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation")
FLAGS = ("do_resize", "do_rescale", "do_normalize")
PLAIN = ("ViTImageProcessor",)  # whose settings are what they say; the others compute sizes of their own from them
SETTINGS = (*FLAGS, "image_mean", "image_std", "resample", "rescale_factor", "size")


def timm_input(config: Mapping[str, Any]) -> Record:
    """Return the columns of a config in timm's format that states every setting of its transform, else none.

    They are those of `timm.data.resolve_data_config` with the same config.
    """
    inner = config.get("pretrained_cfg")
    stated = inner if isinstance(inner, Mapping) else config
    if any(stated.get(key) is None for key in TIMM):
        return {}
    size, share = stated["input_size"], stated["crop_pct"]
    sound = _sizes(size, 3) and _numbers(stated["mean"], size[0]) and _numbers(stated["std"], size[0]) and 0 not in stated["std"]
    if not (sound and _number(share) and 0.01 <= share <= 10):
        return {}
    if stated["crop_mode"] not in CHOICES["crop"] or stated["interpolation"] not in CHOICES["interpolation"]:
        return {}
    settings = {key: stated[key] for key in ("crop_mode", "crop_pct", "interpolation")}
    return {
        "input_size": list(size),
        "channels": size[0],
        "mean": [float(one) for one in stated["mean"]],
        "std": [float(one) for one in stated["std"]],
        "resize": math.floor(min(size[1:]) / share),
        "crop": stated["crop_mode"],
        "interpolation": stated["interpolation"],
        "processor": _text({"library": "timm", **settings}),
    }


def transformers_input(content: bytes | None) -> Record:
    """Return the columns of a preprocessor_config.json that squashes to a fixed size and states every setting, else none."""
    try:
        stated = json.loads(content or b"null")
    except (ValueError, RecursionError):
        return {}
    if (
        not isinstance(stated, dict)
        or any(stated.get(key) is not True for key in FLAGS)
        or any(stated.get(key) is None for key in SETTINGS)
    ):
        return {}
    name = re.sub(r"Fast$", "", str(stated.get("image_processor_type") or ""))
    size, factor = stated["size"], stated["rescale_factor"]
    square = isinstance(size, Mapping) and set(size) == {"height", "width"} and _sizes([3, size["height"], size["width"]], 3)
    others = any(stated.get(key) for key in ("do_center_crop", "do_pad", "do_flip_channel_order", "do_convert_rgb"))
    plain = name in PLAIN and square and not others and _number(factor) and abs(factor - 1 / 255) < 1e-9
    if not (plain and _numbers(stated["image_mean"], 3) and _numbers(stated["image_std"], 3) and 0 not in stated["image_std"]):
        return {}
    if not isinstance(stated["resample"], int):
        return {}
    return {
        "input_size": [3, size["height"], size["width"]],
        "channels": 3,
        "mean": [float(one) for one in stated["image_mean"]],
        "std": [float(one) for one in stated["image_std"]],
        "processor": _text({"library": "transformers", "class": name, **{key: stated[key] for key in SETTINGS}}),
    }


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def _sizes(values: Any, count: int) -> bool:
    whole = isinstance(values, list) and len(values) == count and all(isinstance(one, int) and not isinstance(one, bool) for one in values)
    return whole and 1 <= values[0] <= 4 and all(0 < one <= LARGEST_SIDE for one in values)


def _numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(_number, values))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e6
