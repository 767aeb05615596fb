"""What model repos and libraries say about a model, as columns of its entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from securitynet.data.dataset import ImageDataset, find, records
from securitynet.entry import Entry

Facts = dict[str, Any]
GEOMETRY = ("processor", "crop", "resize", "interpolation")


def complete(entry: Entry, facts: Mapping[str, Any]) -> Entry:
    """Return the entry with the columns that it leaves open taken from `facts`; its own geometry is not mixed with another."""
    typed = Entry.from_record({**facts, "id": entry.id})
    stated = any(getattr(entry, key) is not None for key in GEOMETRY)
    return replace(entry, **{key: getattr(typed, key) for key in facts if getattr(entry, key) is None and not (stated and key in GEOMETRY)})


def merged(base: Mapping[str, Any], given: Mapping[str, Any]) -> Facts:
    """Return a record with the columns of another in place of its own: a geometry that is given replaces the library's transform."""
    library = (
        json.loads(base["processor"])["library"] if isinstance(base.get("processor"), str) else (base.get("processor") or {}).get("library")
    )
    other = {key for key in GEOMETRY if given.get(key) is not None}
    resized = library != "timm" and list(given.get("input_size") or base.get("input_size") or ()) != list(base.get("input_size") or ())
    dropped = {"processor": None} if other - {"processor"} or resized else {}
    return {**base, **dropped, **given}


def label_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the outputs, in order, where a config.json states them all; else an empty list."""
    inner = config.get("pretrained_cfg") or {}
    listed = config.get("label_names") or inner.get("label_names")
    if isinstance(listed, list):
        return [str(name) for name in listed]
    by_number = config.get("id2label") or {}
    if isinstance(by_number, list):
        return [str(name) for name in by_number]
    numbered = {int(number): str(name) for number, name in by_number.items() if str(number).isdigit()}
    return [numbered[number] for number in range(len(numbered))] if set(numbered) == set(range(len(numbered))) else []


def card_facts(readme: Path, names: list[str]) -> Facts:
    """Return what a model card states: a dataset that is known here, the accuracy claimed on it, and how the classes are ordered.

    `names` are the names of the outputs; where they are the dataset's classes in another order, the class map says so.
    """
    card = _front_matter(readme)
    listed = card.get("datasets")
    for stated in listed if isinstance(listed, list) else [listed]:
        record = _dataset(stated)
        if record is None:
            continue
        facts: Facts = {"dataset": record.key} | _claim(card, record)
        known = list(record.class_names or ())
        if names != known and sorted(names) == sorted(known) and len(set(names)) == len(names):
            facts |= {"class_map": "list", "class_list": [names.index(name) for name in known]}
        return facts
    return {}


def _front_matter(readme: Path) -> dict[str, Any]:
    """The metadata of a model card; one that cannot be read states nothing."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        return metadata_load(readme) or {}
    except (OSError, ValueError, YAMLError):
        return {}


def _dataset(stated: Any) -> ImageDataset | None:
    """The dataset of a key, an alias or a repo on the Hub."""
    name = str(stated or "")
    return find(name) or next((record for record in records() if record.hub_id == name), None)


def _claim(card: Mapping[str, Any], record: ImageDataset) -> Facts:
    """The first accuracy on that dataset in the card's model-index; some write per cent."""
    try:
        results = [result for model in card.get("model-index") or () for result in model["results"]]
        stated = [
            (float(metric["value"]), result["dataset"].get("split"))
            for result in results
            for metric in result["metrics"]
            if metric["type"] == "accuracy" and _dataset(result["dataset"]["type"]) is record
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}  # not of the form that the Hub documents
    if not stated or not 0 < stated[0][0] <= 100:
        return {}
    value, split = stated[0]
    return {"claimed_accuracy": value if value <= 1 else value / 100, "claimed_split": split, "claim_source": "model card"}
