"""What a model card states, and how the names of a model's outputs agree with the classes of its dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from securitynet.data.dataset import ImageDataset, find, records
from securitynet.data.naming import Agreement, agreement
from securitynet.errors import LoadError
from securitynet.foreign import regular, yaml_mapping

log = logging.getLogger(__name__)
Facts = dict[str, Any]
MOST_CARD = 20_000_000  # bytes
BACKGROUND = "background"


def label_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the outputs, in order, where a config.json states them all; else an empty list.

    Raises LoadError where a name is no text.
    """
    inner = config.get("pretrained_cfg")
    listed = config.get("label_names") or (inner.get("label_names") if isinstance(inner, Mapping) else None) or config.get("id2label")
    if isinstance(listed, Mapping):
        numbered = {int(number): name for number, name in listed.items() if str(number).isdecimal() and len(str(number)) < 9}
        listed = [numbered[number] for number in range(len(numbered))] if set(numbered) == set(range(len(listed))) else None
    if not isinstance(listed, list):
        return []
    for name in listed:
        if not isinstance(name, str | int | float):
            raise LoadError(f"config.json: the names of the classes must be text, not {str(name)[:60]}")
    return [str(name) for name in listed]


def card_facts(readme: Path, names: Sequence[str], given: Mapping[str, Any] | None = None) -> Facts:
    """Return what a model card states: a dataset that is known here, the accuracy claimed on it, and how the classes are ordered.

    `names` are the names of the outputs, `given` what is known better: a dataset goes before the card's, a class map before
    the names. Where they are the dataset's classes in another order, the class map says so; `notes` say what was found.
    Raises LoadError where only some of them are.
    """
    card, given = _front_matter(readme), given or {}
    stated = card.get("datasets")
    wanted = [given["dataset"]] if given.get("dataset") else stated if isinstance(stated, list) else [stated]
    found = [record for name in wanted if (record := _dataset(name)) is not None]
    outputs = list(names[1:]) if len(names) == 1001 and names[0].casefold() == BACKGROUND else list(names)
    if given.get("class_map") or given.get("class_list"):
        return {"dataset": found[0].key} | _claim(card, found[0]) if found else {}
    judged = [(record, agreement(outputs, record)) for record in found]
    for record, one in judged:
        if one.kind == "partial":
            raise LoadError(f"{readme.parent.name}: {one.reason}; give class_list, or the dataset, in --entry RECORD.json")
        if one.kind != "other":
            return {"dataset": record.key} | _claim(card, record) | _order(names, outputs, one)
    notes = [one.reason for _, one in judged if one.reason] + ([_candidates(outputs)] if outputs else [])
    facts: Facts = {"labels": list(names)} if outputs else {}
    return facts | ({"notes": "; ".join(notes)} if notes else {})


def _order(names: Sequence[str], outputs: Sequence[str], found: Agreement) -> Facts:
    facts: Facts = {"notes": found.reason} if found.reason else {}
    if found.kind == "permutation":
        shift = len(names) - len(outputs)
        facts |= {"class_map": "list", "class_list": [output + shift for output in found.outputs]}
    return facts


def _candidates(names: Sequence[str]) -> str:
    """Say which known datasets the names of the outputs may be about."""
    sized = [record for record in records() if record.num_classes == len(names)]
    alike = [record.key for record in sized if agreement(names, record).kind in ("identity", "permutation")]
    if alike:
        return f"no dataset is named; the {len(names)} labels are those of {', '.join(alike[:5])} (--entry with dataset)"
    listed = ", ".join(record.key for record in sized[:8]) + (" ..." if len(sized) > 8 else "")
    return f"no dataset is named; known ones with {len(names)} classes: {listed or 'none'}, whose labels are others"


def _front_matter(readme: Path) -> dict[str, Any]:
    """The metadata of a model card; one that is not there, or cannot be read, states nothing."""
    from securitynet.hub.frontmatter import split

    if not readme.exists():
        return {}
    try:
        if regular(readme, LoadError).stat().st_size > MOST_CARD:
            raise LoadError(f"{readme}: too long for a card")
        return yaml_mapping(split(readme.read_text(encoding="utf-8", errors="replace"))[0], str(readme), LoadError)
    except (LoadError, OSError) as error:
        log.info("the card states nothing: %s", error)
        return {}


def _dataset(stated: Any) -> ImageDataset | None:
    """The dataset of a key, an alias or a repo on the Hub."""
    name = stated if isinstance(stated, str) else ""
    return find(name) or next((record for record in records() if name and record.hub_id == name), None)


def _claim(card: Mapping[str, Any], record: ImageDataset) -> Facts:
    """The first accuracy on that dataset in the card's model-index; some write per cent."""
    try:
        results = [result for model in card.get("model-index") or () for result in model["results"]]
        stated = [
            (float(metric["value"]), result["dataset"].get("split"))
            for result in results
            for metric in result["metrics"]
            if metric["type"] == "accuracy" and _dataset(result["dataset"]["type"]) is record and not isinstance(metric["value"], bool)
        ]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return {}  # not of the form that the Hub documents
    if not stated or not 0 < stated[0][0] <= 100:
        return {}
    value, split = stated[0]
    named = split if isinstance(split, str) else None
    return {"claimed_accuracy": value if value <= 1 else value / 100, "claimed_split": named, "claim_source": "model card"}
