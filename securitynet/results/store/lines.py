"""JSON lines, and what may be wrong with one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from securitynet.errors import SecurityNetError
from securitynet.results.row import KEY, Row
from securitynet.schema import dtypes_of

SUM, MARK = 16, 8  # hexadecimal digits of a line's checksum in the journal, and of a row's short digest
BEFORE_SUM = b', "sum": "'
NEEDED = ("row_id", *KEY, "family", "value", "status")  # columns that rows of every schema have
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "timestamp[s]": (str,),
    "int32": (int,),
    "int64": (int,),
    "float64": (int, float),
    "bool": (bool,),
}


@dataclass(frozen=True)
class Damage:
    """Lines `line` to `last` of a file that do not count (None: no line of their own), and why; `raw` is what they hold.

    `contradicts`: a row of the same key says something else. `unsettled`: a process that writes now may be about to settle it.
    """

    file: str
    line: int | None
    reason: str
    raw: bytes = b""
    last: int | None = None
    contradicts: bool = False
    unsettled: bool = False

    def __str__(self) -> str:
        """File, line and reason."""
        if self.line is None:
            return f"{self.file}: {self.reason}"
        place = f"line {self.line}" if self.last in (None, self.line) else f"lines {self.line} to {self.last}"
        return f"{self.file}, {place}: {self.reason}"


def dumped(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of JSON, in UTF-8."""
    try:
        return json.dumps(record, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, as in the name of a file
        return json.dumps(record).encode() + b"\n"


def signed(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of JSON that ends with its own checksum."""
    body = dumped(record)[:-1]
    return body[:-1] + BEFORE_SUM + _sum(body) + b'"}\n'


def verified(raw: bytes) -> dict[str, Any]:
    """Return the record of a signed line, without its line feed. Raises ValueError with what is wrong with it."""
    record = parsed(raw)
    head, _, given = raw.rpartition(BEFORE_SUM)
    if given != _sum(head + b"}") + b'"}':
        raise ValueError("its checksum does not fit: it was changed after it was written")
    if not isinstance(record.get("event"), str) or not isinstance(record.get("n"), int):
        raise ValueError("it has no event and number")
    return record


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:SUM].encode()


def mark(raw: bytes) -> str:
    """Return the short digest of one line, its line feed included."""
    return hashlib.sha256(raw).hexdigest()[:MARK]


def parsed(raw: bytes) -> dict[str, Any]:
    """Return the object that a line holds. Raises ValueError with what is wrong with it."""
    if not raw.strip(b"\0"):
        raise ValueError("zeros" if raw else "empty")
    try:
        record = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return record


def row_of(raw: bytes) -> Row:
    """Return the row that a line holds. Raises ValueError with what is wrong with it."""
    record = parsed(raw)
    missing = [name for name in NEEDED if name not in record]
    if missing:
        raise ValueError(f"the column {missing[0]} is missing")
    for name, dtype in _dtypes().items():
        value = record.get(name)
        if value is not None and (not isinstance(value, TYPES[dtype]) or (isinstance(value, bool) and dtype != "bool")):
            raise ValueError(f"{name} is not of type {dtype}")
    try:
        row = Row.from_record(record)
    except (SecurityNetError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(" ".join(f"not a row: {error}".split())[:200]) from None
    if record["row_id"] not in row.known_ids:
        raise ValueError("its row_id does not fit its key")
    return row


@cache
def _dtypes() -> dict[str, str]:
    return dtypes_of(Row)


def append(path: Path, data: bytes, sync: bool) -> None:
    """Append to a file; with `sync` it is on the disk afterwards. Raises OSError with the path; the file is then as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        before, rest = file.tell(), memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            if sync:
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise OSError(error.errno, error.strerror, str(path)) from error
