"""Rows and evidence on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from securitynet.cache import digest, replacing
from securitynet.results.row import Row


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, all columns present; the file appears whole or not at all."""
    with replacing(path) as part:
        part.write_text("".join(json.dumps(row.to_record(), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSON-lines file."""
    return [Row.from_record(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]


class RowStore:
    """Finished attacks of one (entry, weights, data, manifest) under one directory: a file of rows, a file of evidence each.

    A file appears whole or not at all, so a run that is killed loses the attack at work and nothing else.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.evidence: dict[str, dict[str, np.ndarray]] = {}

    @staticmethod
    def key(attack: str, params: str, seed: int, code: str) -> str:
        """Return the name of the files of one attack."""
        return f"{attack.replace('/', '-')}-{digest(attack, params, seed, code)[:16]}"

    def get(self, key: str) -> list[Row] | None:
        """Return the rows stored under `key`, or None."""
        if self.directory is None or not (path := self.directory / f"{key}.jsonl").exists():
            return None
        rows, evidence = read_rows(path), self.directory / f"{key}.npz"
        if evidence.exists():
            with np.load(evidence, allow_pickle=False) as stored:
                self.evidence[key] = {**stored, **_whose(rows)}
        return rows

    def put(self, key: str, rows: Sequence[Row], arrays: Mapping[str, np.ndarray]) -> None:
        """Store the rows and the evidence of an attack; the rows come last and make it count."""
        if arrays:
            arrays = {**arrays, **_whose(rows)}
            self.evidence[key] = dict(arrays)
        if self.directory is None:
            return
        if arrays:
            save_arrays(self.directory / f"{key}.npz", arrays)
        write_rows(self.directory / f"{key}.jsonl", rows)


def _whose(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Evidence says whose it is: the name of its attack and the hyper-parameters, as text."""
    return {"attack": np.asarray(rows[0].attack), "params": np.asarray(rows[0].params)}


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed .npz; the file appears whole or not at all."""
    with replacing(path) as part, part.open("wb") as handle:
        np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
