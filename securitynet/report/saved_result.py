"""A result as `evaluate --output` saved it: rows, record, verdict, summary, and the scores behind the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.report.measure_table import load_rows, measure_of
from securitynet.results.evidence import SIDES, Arrays, Key, Scored, by_attack, read_arrays, read_evidence, scores_of
from securitynet.results.labels import labels_of
from securitynet.results.row import Row
from securitynet.results.store import is_store

SPLITS = ("members", "non_members", "test")


@dataclass(frozen=True, eq=False)
class SavedResult:
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

    def evidence(self) -> dict[Key, Scored]:
        """Return the scores of each (attack, params) that has any."""
        return {key: scores_of(found, {}) for key, found in self.arrays(*SIDES).items()}

    def arrays(self, *names: str) -> dict[Key, Arrays]:
        """Return, by (attack, params), the saved arrays of each attack that has all of these."""
        return by_attack(read_evidence(self.folder), *names)

    def images(self) -> dict[str, NDArray[np.int64]]:
        """Return, per split, the indices of its images in the dataset; empty where the outputs were not saved."""
        path = self.folder / "outputs.npz"
        arrays = read_arrays(path) if path.is_file() else {}
        return {name: arrays[f"{name}_indices"] for name in SPLITS if f"{name}_indices" in arrays}

    def correct(self) -> dict[str, NDArray[np.bool_]]:
        """Return, per split, whether the model is right about each sample; empty where the outputs were not saved."""
        path = self.folder / "outputs.npz"
        if not path.is_file():
            return {}
        arrays = read_arrays(path)
        names = [name for name in SPLITS if f"{name}_logits" in arrays]
        return {name: arrays[f"{name}_logits"].argmax(axis=1) == arrays[f"{name}_labels"] for name in names}


def is_saved(path: Path) -> bool:
    """Say whether a path is a folder, of one result: a sweep has many models, and no scores of theirs."""
    return path.is_dir() and not is_store(path)


def read_saved(folder: Path) -> SavedResult:
    """Return the result in a folder. Raises UsageError where it holds none, or a file of it cannot be read."""
    rows = load_rows([folder])
    record = _json(folder / "entry.json")
    if not rows:
        raise UsageError(f"{folder}: rows.jsonl has no rows")
    entry = Entry.from_record(record) if record else Entry(id=rows[0].entry, dataset=rows[0].dataset)
    return SavedResult(folder, entry, tuple(rows), _json(folder / "verify.json"), _json(folder / "summary.json"))


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
