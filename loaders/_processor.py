"""The image processor of a model repo in transformers' format, as columns of its entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.data.processor import FAILURES, Values, base_name, line, measured, processor_class, run, settings_of
from securitynet.errors import DataError, LoadError
from securitynet.loaders._configs import Config, read_config
from securitynet.loaders._facts import Facts

PREPROCESSOR, COMMON = "preprocessor_config.json", "processor_config.json"
FLAGS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_pad", "do_flip_channel_order", "rescale_offset", "include_top")
SIDES = ("size", "crop_size", "pad_size")
PROBES = ((61, 97), (90, 50))  # height and width of pictures that show whether everything comes out at one size


def processor_facts(folder: Path, config: Config) -> Facts:
    """Return the columns that a repo's image processor gives: what `pipeline` would feed the network, class defaults included.

    A repo without a processor's config has the defaults of its class, at the image size of its config. Raises LoadError.
    """
    inner = config.section("vision_config") if config.has("vision_config") else config
    channels = inner.integer("num_channels", 1, 4) or 3
    size = _sizes(inner, "image_size")
    try:
        stated = checked(folder)
        processor = _stated(folder) if stated else _default(config, size)
        input_size = _input_size(processor, channels, size)
        values = measured(processor, input_size)
    except DataError as error:
        raise LoadError(f"{PREPROCESSOR}: {error}") from error
    settings = {"library": "transformers", "class": base_name(processor), **settings_of(processor)}
    facts = {
        "input_size": list(input_size),
        "channels": channels,
        "processor": _text(settings if stated else {**settings, "stated": False}),
    }
    return facts | normalisation(settings, values, channels)


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def checked(folder: Path) -> bool:
    """Say whether the repo states a processor, after its values were checked. Raises LoadError that names file and key."""
    common = read_config(folder / COMMON).section("image_processor") if (folder / COMMON).is_file() else Config(COMMON)
    alone = read_config(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else Config(PREPROCESSOR)
    for config in (common, alone):
        for key in FLAGS:
            config.flag(key)
        for key in SIDES:
            config.sides(key)
        for key in ("image_processor_type", "feature_extractor_type", "processor_class"):
            config.text(key)
        config.numbers("image_mean")
        if 0 in (config.numbers("image_std") or ()):
            raise config.wrong("image_std", "other than zero")
        config.number("rescale_factor")
        config.number("crop_pct", 0.05, 10)
        if not isinstance(config.values.get("resample"), str):
            config.integer("resample", 0, 5)
        if not isinstance(config.values.get("auto_map"), Mapping | None):
            raise config.wrong("auto_map", "an object")
    return bool(common.values or alone.values)


def _stated(folder: Path) -> Any:
    """The processor that the library makes of the repo's own config, without any code of the repo."""
    from transformers import AutoImageProcessor

    try:
        found = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        settings = settings_of(found)
    except (ImportError, *FAILURES) as error:
        raise DataError(f"transformers makes no image processor of it ({line(error)})") from error
    return _built(base_name(found), settings)


def _built(name: str, settings: Mapping[str, Any]) -> Any:
    try:
        return processor_class(name)(**settings)
    except FAILURES as error:
        raise DataError(f"{name} of transformers does not take these settings ({line(error)})") from error


def _default(config: Config, size: tuple[int, int] | None) -> Any:
    """The processor of the model's class with its defaults, enlarged or reduced to the image size of the config."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    kind = config.text("model_type") or ""
    kinds = IMAGE_PROCESSOR_MAPPING_NAMES.get(kind)
    if not kinds:
        raise DataError(f"the repo has none, and transformers has no default for models of type {kind[:40]!r}; state how pixels are made")
    name = next(iter(kinds.values())).removesuffix("Pil")
    processor = _built(name, {})
    if size is None:
        return processor
    shape = _squared(processor)
    if shape is None or shape == size:
        return processor
    settings = settings_of(processor)
    scaled = {key: {side: round(value * size[0] / shape[0]) for side, value in settings[key].items()} for key in SIDES if settings.get(key)}
    return _built(name, {**settings, **scaled})


def _squared(processor: Any) -> tuple[int, int] | None:
    """The height and width that come of a large square picture."""
    try:
        return _shape(processor, 3, (512, 512))
    except DataError:
        return None


def _shape(processor: Any, channels: int, size: tuple[int, int]) -> tuple[int, int]:
    from PIL import Image

    picture = Image.fromarray(np.zeros((*size, 3), np.uint8))
    height, width = run(processor, picture if channels == 3 else picture.convert("L")).shape[1:]
    return height, width


def _input_size(processor: Any, channels: int, size: tuple[int, int] | None) -> tuple[int, ...]:
    """What comes of pictures of any shape; where they come out in their own shapes, what the config's image size keeps.

    Raises DataError where no size is known, in the words of the library where it refuses.
    """
    try:
        shapes = {_shape(processor, channels, one) for one in PROBES}
    except DataError:
        if size is None:
            raise
        shapes = set()
    if len(shapes) == 1:
        return channels, *shapes.pop()
    if size is None or _shape(processor, channels, size) != size:
        raise DataError(f"{base_name(processor)} makes pictures of no single size ({_text(settings_of(processor))[:160]})")
    return channels, *size


def _sizes(config: Config, key: str) -> tuple[int, int] | None:
    """The height and width of a config's image size: a number, or a list of two."""
    config.sides(key)
    value = config.values.get(key)
    sides = [value] * 2 if isinstance(value, int) else value if isinstance(value, list) else []
    return (sides[0], sides[1]) if len(sides) == 2 and None not in sides else None


def normalisation(settings: Mapping[str, Any], values: Values, channels: int) -> Facts:
    """Return scale, mean, std and channel order: as the settings say, or as measured where they do not explain what was measured."""
    factor = 255 * (settings.get("rescale_factor") or 1 / 255) if settings.get("do_rescale") else 255.0
    shift = 1.0 if settings.get("rescale_offset") and settings.get("do_rescale") else 0.0
    mean = _each(settings.get("image_mean"), channels) if settings.get("do_normalize") else [0.0] * channels
    std = _each(settings.get("image_std"), channels) if settings.get("do_normalize") else [1.0] * channels
    if settings.get("include_top"):
        std = [one * again for one, again in zip(std, _each(settings.get("image_std"), channels), strict=True)]
    mean = [one + shift for one in mean]
    expected = [(-m / s, factor / s) for m, s in zip(mean, std, strict=True)]
    found = list(zip(values.black, values.span, strict=True))
    order = "BGR" if values.bgr else None
    if np.allclose(expected, found, rtol=1e-4, atol=1e-5 * max(abs(span) for span in values.span)):
        return {"scale": None if abs(factor - 1) < 1e-6 else factor, "mean": mean, "std": std, "channel_order": order}
    return {"scale": None, "mean": [-b / s for b, s in found], "std": [1 / s for _, s in found], "channel_order": order}


def _each(value: Any, channels: int) -> list[float]:
    listed = [float(one) for one in value] if isinstance(value, list) else [float(value or 0.0)]
    return listed * channels if len(listed) == 1 else (listed + [0.0] * channels)[:channels]
