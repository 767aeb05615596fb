"""A result as `evaluate --output` saved it: rows, record, verdict, summary, and the scores behind the rows."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securitynet.attack import Row
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.report.measured import load_rows, measure_of
from securitynet.report.scored import labels_of

Scores = NDArray[np.float64]
SPLITS = ("members", "non_members", "test")


@dataclass(frozen=True, eq=False)
class Evidence:
    """One attack's scores of the samples that it is measured on, and the places of these in their splits."""

    attack: str
    params: str
    members: Scores
    non_members: Scores
    places: NDArray[np.int64]
    non_places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Saved:
    """One saved evaluation; `verify` and `summary` are empty where the folder has none."""

    folder: Path
    entry: Entry
    rows: tuple[Row, ...]
    verify: Mapping[str, Any]
    summary: Mapping[str, Any]

    def labelled(self) -> dict[str, list[Row]]:
        """Return the rows of each attack by its label, in their order."""
        keys = list(dict.fromkeys((row.attack, row.params) for row in self.rows))
        labels = dict(zip(keys, labels_of(keys), strict=True))
        return {label: [row for row in self.rows if (row.attack, row.params) == key] for key, label in labels.items()}

    def row(self, measure: str) -> Row | None:
        """Return the row of a measure (see measured.measure_of), None where there is none."""
        return next((row for row in self.rows if measure_of(row) == measure), None)

    def evidence(self) -> dict[tuple[str, str], Evidence]:
        """Return the scores of each (attack, params) that has any."""
        found = (_evidence(path) for path in sorted((self.folder / "evidence").glob("*.npz")))
        return {(one.attack, one.params): one for one in found if one is not None}

    def arrays(self, *names: str) -> dict[tuple[str, str], dict[str, np.ndarray]]:
        """Return, by (attack, params), the saved arrays of each attack that has all of these."""
        found = (_arrays(path) for path in sorted((self.folder / "evidence").glob("*.npz")))
        return {(str(one["attack"]), str(one["params"])): one for one in found if {"attack", "params", *names} <= set(one)}

    def images(self) -> dict[str, NDArray[np.int64]]:
        """Return, per split, the indices of its images in the dataset; empty where the answers were not saved."""
        path = self.folder / "outputs.npz"
        arrays = _arrays(path) if path.is_file() else {}
        return {name: arrays[f"{name}_indices"] for name in SPLITS if f"{name}_indices" in arrays}

    def correct(self) -> dict[str, NDArray[np.bool_]]:
        """Return, per split, whether the model is right about each sample; empty where the answers were not saved."""
        path = self.folder / "outputs.npz"
        if not path.is_file():
            return {}
        arrays = _arrays(path)
        names = [name for name in SPLITS if f"{name}_logits" in arrays]
        return {name: arrays[f"{name}_logits"].argmax(axis=1) == arrays[f"{name}_labels"] for name in names}


def read_saved(folder: Path) -> Saved:
    """Return the result in a folder. Raises UsageError where it holds none, or a file of it cannot be read."""
    rows = load_rows([folder])
    record = _json(folder / "entry.json")
    if not rows:
        raise UsageError(f"{folder}: rows.jsonl has no rows")
    entry = Entry.from_record(record) if record else Entry(id=rows[0].entry, dataset=rows[0].dataset)
    return Saved(folder, entry, tuple(rows), _json(folder / "verify.json"), _json(folder / "summary.json"))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: must be a JSON object")
    return value


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error


def _evidence(path: Path) -> Evidence | None:
    found = _arrays(path)
    if not {"attack", "params", "members", "non_members"} <= set(found):
        return None
    sides, places = [], []
    for side in ("members", "non_members"):
        known = found[f"known_{side}"] if found.get("held_out", False) else np.zeros(len(found[side]), dtype=bool)
        places.append(np.flatnonzero(~known))
        sides.append(np.asarray(found[side], dtype=np.float64)[places[-1]])
    return Evidence(str(found["attack"]), str(found["params"]), sides[0], sides[1], places[0], places[1])
