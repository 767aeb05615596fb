"""The card of one entry of the catalog, as the README.md of a model repo on the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from securitynet.cards import render
from securitynet.data.dataset import ImageDataset, find
from securitynet.entry import Entry
from securitynet.importers.known_errors import FLAGS
from securitynet.importers.packages import WITHDRAWN

HUB_LICENCES = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "unlicense")  # names of the Hub
FACTS = {
    "source": "source", "revision": "revision", "architecture": "architecture", "architecture_args": "arguments", "params": "parameters",
    "macs": "multiply-accumulates per image", "dataset": "dataset", "num_classes": "classes", "input_size": "input", "mean": "mean",
    "std": "deviation", "resize": "resize", "crop": "crop", "interpolation": "interpolation", "train_size": "training images",
    "extra_data": "further data", "pretraining": "pretrained by", "threat_model": "trained against", "backdoor": "backdoor",
    "backdoor_trigger": "trigger", "backdoor_target": "target class", "claimed_accuracy": "accuracy claimed", "claimed_split": "on split",
    "claim_source": "claimed in", "licence": "licence of the weights", "code_licence": "licence of the code", "hub_id": "repo",
    "weights_url": "address", "mirrors": "also at", "dead_urls": "no longer at", "archive_member": "member", "weights_hash": "hash",
    "hash_algorithm": "of algorithm", "integrity": "hash pins it", "same_weights_as": "same weights as",
}  # fmt: skip


def entry_card(entry: Entry, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the card: front matter with licence, datasets, tags and results, then prose; `rows` are published measurements of it."""
    import yaml

    dataset = find(entry.dataset)
    front = yaml.safe_dump(front_matter(entry, dataset), sort_keys=False, allow_unicode=True, width=120)
    facts = [(label, _words(getattr(entry, column))) for column, label in FACTS.items() if getattr(entry, column) is not None]
    usable = entry.loader is not None and entry.loadable is not False and entry.task != "multi-label"
    values = {
        "entry": entry,
        "lead": _lead(entry, dataset),
        "link": _link(entry.paper_url),
        "warnings": list(_warnings(entry)),
        "usable": usable,
        "facts": facts,
        "rows": rows,
    }
    return f"---\n{front}---\n{render('entry', values)}"


def front_matter(entry: Entry, dataset: ImageDataset | None) -> dict[str, Any]:
    """Return the metadata as the Hub documents it; what is not known is left out."""
    licence = (entry.licence or "").lower()
    named = {"license": licence} if licence in HUB_LICENCES else {"license": "other", "license_name": entry.licence} if licence else {}
    library = {"library_name": entry.loader} if entry.loader in ("timm", "transformers") else {}
    repo = {"datasets": [dataset.hub_id]} if dataset is not None and dataset.hub_id else {}
    tags = ["image-classification", "securitynet", *([entry.purpose] if entry.purpose else []), *(["backdoor"] if _poisoned(entry) else [])]
    return {**named, **library, "pipeline_tag": "image-classification", **repo, "tags": tags, **_model_index(entry, dataset)}


def _model_index(entry: Entry, dataset: ImageDataset | None) -> dict[str, Any]:
    if entry.claimed_accuracy is None or dataset is None:
        return {}
    where = {"name": dataset.title or dataset.key, "type": dataset.hub_id or dataset.key.lower(), "split": entry.claimed_split or "test"}
    metric = {"type": "accuracy", "value": entry.claimed_accuracy, "name": f"accuracy, as stated in {entry.claim_source}"}
    result = {"task": {"type": "image-classification"}, "dataset": where, "metrics": [metric]}
    return {"model-index": [{"name": entry.id, "results": [result]}]}


def _poisoned(entry: Entry) -> bool:
    return entry.backdoor not in (None, "none")


def _lead(entry: Entry, dataset: ImageDataset | None) -> str:
    on = f", trained on {dataset.title or dataset.key}" if dataset else ""
    return f"An image classifier of {entry.num_classes or 'an unknown number of'} classes{on}, published by {entry.source} as {entry.name}."


def _warnings(entry: Entry) -> Iterator[str]:
    """What a user must know first, the flags as sentences."""
    words = {flag.name: flag.words for flag in FLAGS} | {WITHDRAWN: "its library no longer lists it"}
    if _poisoned(entry):
        yield f"It has a planted backdoor ({entry.backdoor}): do not use it for anything but research."
    if entry.loadable is not True and entry.loadable_reason:
        yield f"{'It is not loaded' if entry.loadable is False else 'Not opened here'}: {entry.loadable_reason}."
    if entry.integrity != "full":
        yield {"prefix": "Only the first digits of its hash are known, which pin nothing.", "none": "No hash is known for its weights."}[
            entry.integrity or "none"
        ]
    if entry.same_weights_as:
        yield f"The same weights as {entry.same_weights_as}."
    yield from (f"{flag}: {words.get(flag, flag)}." for flag in entry.flags or ())


def _link(url: str | None) -> str | None:
    """An address of the web without anything that would end the link early, else none."""
    return url if url is not None and re.fullmatch(r"https?://[^\s<>]+", url) else None


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}" if type(value) is int else str(value)
