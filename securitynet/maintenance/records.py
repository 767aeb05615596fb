"""Files of the catalog: JSON lines in one canonical form, so that a file changes only where a fact does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from securitynet.cache import replacing
from securitynet.entry import Entry
from securitynet.errors import DataError, unknown

Record = dict[str, Any]


def line_of(record: Mapping[str, Any]) -> str:
    """Return the record as one line, with its line end: keys in the given order, text as it is."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def read(path: Path) -> list[Record]:
    """Return the records of a file, none where it is missing. Raises DataError with the line that is not a JSON object."""
    return list(each(path))


def each(path: Path) -> Iterator[Record]:
    """Yield the records of a file one by one, as `read` returns them."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path.name} line {number}: not JSON ({error})") from error
            if not isinstance(record, dict):
                raise DataError(f"{path.name} line {number}: not a JSON object")
            yield record


def text_of(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the whole text of a file of records."""
    return "".join(map(line_of, records))


def write_changed(path: Path, text: str) -> bool:
    """Write `text` where the file holds anything else; say whether it was written. The file appears whole or not at all."""
    if path.exists() and path.read_bytes() == text.encode():
        return False
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.chmod(0o644)
    return True


def entries(catalog: Path, source: str | None = None) -> list[Entry]:
    """Return the models of a catalog folder, of one source or of all, file by file. Raises UsageError for an unknown source."""
    files = {path.stem: path for path in sorted((catalog / "models").glob("*.jsonl"))}
    if source is not None and source not in files:
        raise unknown("source", source, files)
    return [Entry.from_record(record) for name, path in files.items() if source in (None, name) for record in read(path)]
