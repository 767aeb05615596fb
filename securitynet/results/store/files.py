"""Files of rows and of arrays, as a saved result has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from securitynet.cache import replacing
from securitynet.results.row import Row


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, all columns present; the file appears whole or not at all."""
    with replacing(path) as part:
        part.write_text("".join(json.dumps(row.to_record(), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSON-lines file."""
    return [Row.from_record(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed .npz; the file appears whole or not at all."""
    with replacing(path) as part, part.open("wb") as handle:
        np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
