"""Which image dataset a repo is about: what its card names, checked against the names and the number of its outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from securitynet.data.dataset import ImageDataset, find, records
from securitynet.data.naming import agreement
from securitynet.maintenance.records import Record

ENOUGH = 10  # classes whose names together are taken for a dataset that nobody names: few names fit many collections
BACKGROUND = "background"


@dataclass(frozen=True)
class Decided:
    """The dataset, how it is known, and how the outputs are ordered; `notes` say what was found otherwise."""

    dataset: str | None = None
    how: str | None = None
    class_map: str | None = None
    class_list: list[int] | None = None
    notes: tuple[str, ...] = ()


def decided(names: Sequence[str], classes: int | None, stated: Sequence[str], claims: Sequence[Mapping[str, Any]]) -> Decided:
    """Return the dataset of a repo with these names of outputs, number of classes, datasets in its card and claims."""
    indexed = tuple(name for claim in claims for name in claim["names"])
    return _decided(tuple(names), classes, tuple(stated), indexed)


@lru_cache(maxsize=4096)
def _decided(names: tuple[str, ...], classes: int | None, stated: tuple[str, ...], indexed: tuple[str, ...]) -> Decided:
    candidates = {record.key: (record, "model-index") for name in indexed if (record := known(name)) is not None}
    candidates |= {record.key: (record, "card") for name in stated if (record := known(name)) is not None}
    shifted = len(names) == 1001 and names[0].casefold() == BACKGROUND
    outputs = names[1:] if shifted else names
    notes = []
    for record, how in candidates.values():
        found, reason = _fits(record, how, outputs, classes, shifted)
        if found is not None:
            return found
        notes += [reason] if reason else []
    if not names and classes is None:
        open_ = [(record.key, how) for record, how in candidates.values()]
        return Decided(*open_[0]) if len(open_) == 1 else Decided(notes=tuple(notes))
    return _by_labels(outputs, shifted, notes)


def _fits(record: ImageDataset, how: str, outputs: Sequence[str], classes: int | None, shifted: bool) -> tuple[Decided | None, str | None]:
    """Whether a dataset that is named has the classes of the outputs, and if not, why."""
    plain = "background-first" if shifted else "identity"
    if not outputs:
        if classes is None:
            return None, None
        same = classes == record.num_classes
        note = f"the card names {record.key}, which has {record.num_classes} classes, the model {classes}"
        return (Decided(record.key, f"{how}; number of classes"), None) if same else (None, note)
    judged = agreement(outputs, record)
    if judged.kind in ("identity", "unknown", "unnamed"):
        evidence = "labels" if judged.kind == "identity" else "number of classes"
        order = plain if judged.kind == "identity" else None
        return Decided(record.key, f"{how}; {evidence}", order, notes=(judged.reason,) if judged.reason else ()), None
    if judged.kind == "permutation":
        shift = int(shifted)
        places = [place + shift for place in judged.outputs]
        return Decided(record.key, f"{how}; labels", "list", places, (judged.reason,) if judged.reason else ()), None
    return None, judged.reason


def _by_labels(outputs: Sequence[str], shifted: bool, notes: list[str]) -> Decided:
    """The only dataset that has all these names; where several have, or the names are few, they are only noted."""
    alike = []
    for record in records() if outputs else ():
        if record.num_classes == len(outputs) and record.class_names is not None:
            found, _ = _fits(record, "", outputs, None, shifted)
            if found is not None and found.how == "; labels":
                alike.append(found)
    if len(alike) == 1 and len(outputs) >= ENOUGH:
        return Decided(alike[0].dataset, "labels", alike[0].class_map, alike[0].class_list, (*notes, *alike[0].notes))
    if alike:
        notes = [*notes, f"no dataset is named; the labels are those of {', '.join(str(one.dataset) for one in alike[:5])}"]
    return Decided(notes=tuple(notes))


@lru_cache(maxsize=4096)
def known(name: str) -> ImageDataset | None:
    """Return the dataset of a key, an alias or a repo on the Hub."""
    return find(name) or next((record for record in records() if record.hub_id == name), None)


def claimed(claims: Sequence[Mapping[str, Any]], dataset: str | None) -> Record:
    """Return the first accuracy that is stated: on the dataset that the entry is about, or, where that is not known, on any."""
    for claim in claims:
        found = next((record for name in claim["names"] if (record := known(name)) is not None), None)
        value = _fraction(claim["value"])
        about = found is not None and found.key == dataset
        if value is None or not (about or (dataset is None and claim["how"] == "model-index")):
            continue
        split = claim["split"] if isinstance(claim["split"], str) else None
        named = "" if about or not claim["names"] else f" ({claim['names'][0][:60]})"
        return {"claimed_accuracy": value, "claimed_split": split, "claim_source": f"{claim['how']}{named}"}
    return {}


def _fraction(value: Any) -> float | None:
    """A stated accuracy; some write per cent."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return None if not 0 < number <= 100 else number if number <= 1 else number / 100
