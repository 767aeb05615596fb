"""What an evaluation keeps: the rows and the evidence of each attack of one (entry, weights, data, manifest)."""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from securitynet.cache import digest
from securitynet.results.row import Row
from securitynet.results.store.files import save_arrays
from securitynet.results.store.journal import Batch
from securitynet.results.store.lines import Damage, row_of
from securitynet.results.store.store import Store

log = logging.getLogger(__name__)


class RowStore:
    """Finished attacks under one directory (None: memory only): a store of rows, and a file of evidence for each attack.

    An attack counts when its line `done` is written, so a run that is killed loses the attack at work and nothing else. What is
    damaged counts as absent. Several processes may use one directory. Who finds that the disk is full sets `given_up`.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory, self.given_up = directory, False
        self.evidence: dict[str, dict[str, np.ndarray]] = {}
        self._store = None if directory is None else Store(directory, self._notice, sync=False)

    def _notice(self, damage: Damage) -> None:
        log.warning("%s: %s; what it held is computed again", self.directory, damage)

    @staticmethod
    def key(attack: str, params: str, seed: int, code: str) -> str:
        """Return the name of the results of one attack."""
        return f"{attack.replace('/', '-')}-{digest(attack, params, seed, code)[:16]}"

    def get(self, key: str) -> list[Row] | None:
        """Return the rows stored under `key`, or None."""
        if self._store is None or self.directory is None:
            return None
        with self._store.locked():
            batch = self._batch(key)
            try:
                rows = self._old(key) if batch is None else self._store.rows(batch)
                return rows and self._with_evidence(key, rows, batch)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                self._notice(Damage(key, None, f"not what was written ({error})"))
                if batch is not None:
                    self._store.forget([batch])
                return None

    def _batch(self, key: str) -> Batch | None:
        assert self._store is not None
        with self._store.locked() as contents:
            return next(iter(contents.by_job.get(key, ())), None)

    def _old(self, key: str) -> list[Row] | None:
        """The rows in the file of their own that they had before there were segments."""
        assert self.directory is not None
        path = self.directory / f"{key}.jsonl"
        return [row_of(line) for line in path.read_bytes().splitlines() if line] if path.exists() else None

    def _with_evidence(self, key: str, rows: list[Row], batch: Batch | None) -> list[Row]:
        assert self.directory is not None
        path = self.directory / f"{key}.npz"
        expected = batch.line["evidence"] if batch is not None else None
        if expected is None and (batch is not None or not path.exists()):
            return rows
        if expected is not None and expected != _digest(path):
            raise ValueError("its evidence has another digest")
        with np.load(path, allow_pickle=False) as stored:
            self.evidence[key] = {**stored, **_whose(rows)}
        return rows

    def put(self, key: str, rows: Sequence[Row], arrays: Mapping[str, np.ndarray]) -> None:
        """Store the rows and the evidence of an attack, unless another process has done so just now."""
        if arrays:
            arrays = {**arrays, **_whose(rows)}
            self.evidence[key] = dict(arrays)
        if self._store is None or self.directory is None:
            return
        with self._store.locked():
            if self._batch(key) is not None:
                return
            path = self.directory / f"{key}.npz"
            if arrays:
                save_arrays(path, arrays)
            self._store.add(rows, key, evidence=_digest(path) if arrays else None)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _whose(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Evidence says whose it is: the name of its attack and the hyper-parameters, as text."""
    return {"attack": np.asarray(rows[0].attack), "params": np.asarray(rows[0].params)}
