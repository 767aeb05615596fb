"""The annotation of a model repo: columns of an entry under a key of their own in config.json.

A repo may be anybody's. Its annotation says what the model is, never where anything else is to be fetched or which code is to run: of its
columns only those below are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securitynet.entry import Entry
from securitynet.errors import LoadError, UsageError

Facts = dict[str, Any]
KEY = "securitynet"
BUILD = (
    *("architecture", "architecture_args", "output", "num_classes", "class_map", "class_list", "input_size", "channels", "scale"),
    *("channel_order", "mean", "std"),
)
IMAGES = ("task", "dataset", "grey_to_rgb", "resize", "crop", "interpolation")
CLAIM = ("claimed_accuracy", "claimed_split", "claim_source")
ABOUT = (
    *("family", "params", "macs", "train_size", "extra_data", "pretraining", "threat_model", "purpose"),
    *("licence", "code_licence", "flags", "notes"),
    *("backdoor", "backdoor_trigger", "backdoor_target", "backdoor_success"),
    *("paper_title", "paper_url", "venue", "venue_type", "year", "countries", "num_authors"),
)
COLUMNS = (*BUILD, *IMAGES, *CLAIM, *ABOUT)
BESIDE = re.compile(r"[\w-]+\.safetensors")


def annotation_of(entry: Entry) -> Facts:
    """Return the annotation of an entry: its columns that say what the model is, those that say something."""
    record = entry.to_record()
    return {name: record[name] for name in COLUMNS if record[name] is not None}


def facts_of(config: Mapping[str, Any], where: str) -> Facts:
    """Return the columns that the annotation in a config.json gives, checked; none where it has none. Raises LoadError."""
    noted = config.get(KEY)
    record = noted.get("entry") if isinstance(noted, Mapping) else None
    if not isinstance(record, Mapping):
        return {}
    given = {name: record[name] for name in COLUMNS if record.get(name) is not None}
    try:
        Entry.from_record({**given, "id": where})
    except UsageError as error:
        raise LoadError(f"the annotation in config.json does not fit: {error}") from error
    return given


def joined(base: Mapping[str, Any], card: Mapping[str, Any], noted: Mapping[str, Any]) -> Facts:
    """Return what a repo's format, its card and its annotation say together.

    What the format says about building stays, the annotation completes it; a claim that the card changed on the same dataset counts.
    Names of another number than the classes are left out.
    """
    facts: Facts = {**base, **card, **noted}
    facts |= {name: base[name] for name in ("architecture", "architecture_args", "num_classes") if base.get(name) is not None}
    if facts.get("labels") and facts.get("num_classes") not in (None, len(facts["labels"])):
        del facts["labels"]  # they are not this network's; its weights must show how many outputs it has
    if "loader" not in base and "architecture" in facts:
        facts["loader"] = "checkpoint"
    changed = card.get("claimed_accuracy") not in (None, noted.get("claimed_accuracy"))
    if changed and card.get("dataset") == facts.get("dataset"):
        facts |= {name: card.get(name) for name in CLAIM}
    return facts


def file_beside(noted: Mapping[str, Any], folder: Path | None = None) -> str | None:
    """Return the name of the trigger's file beside the weights, None where the annotation names none (or `folder` has none)."""
    name = noted.get("backdoor_trigger")
    if not isinstance(name, str) or not BESIDE.fullmatch(name):
        return None
    return name if folder is None or (folder / name).is_file() else None
