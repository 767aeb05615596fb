"""What a config.json in timm's or transformers' format says about a model, as columns of its entry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securitynet.data.processor import quietly
from securitynet.entry import CHOICES
from securitynet.errors import LoadError
from securitynet.loaders._architectures import importing
from securitynet.loaders._budget import FAILURES
from securitynet.loaders._configs import LARGEST_SIDE, Config, shown
from securitynet.loaders._facts import Facts
from securitynet.loaders._forms import refuse_task
from securitynet.loaders._labels import label_names

MOST_CLASSES = 1_000_000


def timm_preprocessing(config: Mapping[str, Any], *, test: bool = False) -> Facts:
    """Return the columns of timm's `pretrained_cfg` (as a mapping) that say what the network takes, timm's own defaults included.

    `test`: at the size and crop of timm's own evaluation, where the config states them.
    """
    from timm.data import resolve_data_config

    made = resolve_data_config(pretrained_cfg=dict(config), use_test_size=test)
    size, share = list(made["input_size"]), made["crop_pct"]
    return {
        "input_size": size,
        "channels": size[0],
        "mean": [float(one) for one in made["mean"]],
        "std": [float(one) for one in made["std"]],
        "resize": math.floor(min(size[1:]) / share),
        "crop": made["crop_mode"],
        "interpolation": made["interpolation"],
        "processor": {"library": "timm", **{name: made[name] for name in ("crop_mode", "crop_pct", "interpolation")}},
        "licence": config.get("license"),
    }


def timm_folder(config: Config) -> Facts:
    """Return the columns that the config.json of a model repo in timm's format gives. Raises LoadError."""
    name = config.text("architecture") or ""
    refuse_task(config)
    inner = config.section("pretrained_cfg") if config.has("pretrained_cfg") else config
    _check_timm(inner)
    classes = config.integer("num_classes", 0, MOST_CLASSES)
    classes = inner.integer("num_classes", 0, MOST_CLASSES) if classes is None else classes
    if classes == 0:
        raise LoadError(f"{config.where}: timm's {name[:60]} without a head, which gives features; a model with num_classes above 0 works")
    arguments = {key: value for key, value in config.section("model_args").values.items() if key != "num_classes" and value is not None}
    with importing(config.where, "timm"):
        facts = timm_preprocessing(inner.values)
    return facts | {
        "loader": "timm",
        "architecture": f"timm:{name}",
        "architecture_args": arguments or None,
        "num_classes": classes,
    }


def _check_timm(config: Config) -> None:
    size = config.numbers("input_size")
    if size is not None and not (len(size) == 3 and all(one.is_integer() and 0 < one <= LARGEST_SIDE for one in size)):
        raise config.wrong("input_size", f"three whole numbers from 1 to {LARGEST_SIDE}")
    config.number("crop_pct", 0.01, 10)
    channels = int(size[0]) if size else 3
    for key in ("mean", "std"):
        values = config.numbers(key)
        if values is not None and (len(values) not in (1, channels) or (key == "std" and 0 in values)):
            raise config.wrong(key, f"{channels} numbers{', none of them zero' if key == 'std' else ''}")
    for key, column in (("interpolation", "interpolation"), ("crop_mode", "crop")):
        if config.text(key) not in (None, "", *CHOICES[column]):
            raise config.wrong(key, f"one of {', '.join(CHOICES[column])}")
    config.text("license")


def transformers_folder(config: Config, folder: Path) -> Facts:
    """Return the columns that a model repo in transformers' format gives: its head, and its image processor. Raises LoadError."""
    from securitynet.loaders._processor import processor_facts

    refuse_task(config)
    kinds = config.texts("architectures")
    if not isinstance(config.values.get("id2label"), Mapping | list | None):
        raise config.wrong("id2label", "an object or a list of names")
    names = label_names(config.values)
    facts: Facts = {
        "loader": "transformers",
        "architecture": f"transformers:{kinds[0]}" if kinds else None,
        "family": config.text("model_type"),
        "class_map": "background-first" if len(names) == 1001 and names[0].lower() == "background" else None,
    }
    with importing(config.where, "transformers"), quietly():
        return facts | {"num_classes": _classes(config)} | processor_facts(folder, config)


def _classes(config: Config) -> int:
    """As transformers counts them, whatever they are called."""
    config.integer("num_labels", 0, MOST_CLASSES)
    return int(library_config(config).num_labels)


def library_config(config: Config) -> Any:
    """Return the library's config object. Names of labels that are no object of numbers and names are numbered in their order.

    Raises LoadError for a type of model that the library has not, and for values that it does not take.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    kind, labels = config.text("model_type"), config.values.get("id2label")
    if kind not in CONFIG_MAPPING:
        raise LoadError(f"{config.where}: transformers has no models of type {shown(kind)}")
    values = {key: value for key, value in config.values.items() if key not in ("label2id", "id2label", "auto_map")}
    names = list(labels.values()) if isinstance(labels, Mapping) else labels or []
    if names:
        values["id2label"] = {number: str(name)[:200] for number, name in enumerate(names)}
    try:
        return CONFIG_MAPPING[kind].from_dict(values)
    except (StrictDataclassError, *FAILURES) as error:
        raise LoadError(f"{config.where}: transformers does not take it ({' '.join(str(error).split())[:200]})") from error
