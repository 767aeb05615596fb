"""What was read from the Hub, line by line on disk as it arrives, so that a call that was cut off goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from securitynet.errors import UsageError


class Journal:
    """JSON lines that are only added to. A line that was cut off in mid-writing does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._reader = path.open("a+b"), cast(BinaryIO | None, None)
        if self._file.tell() and (self._file.seek(-1, 2), self._file.read(1))[1] != b"\n":
            self._file.write(b"\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (record for _, record in self.placed())

    def placed(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the records, each with its place in the file."""
        self._file.flush()
        with self.path.open("rb") as file:
            place = 0
            for line in file:
                record = _object(line)
                if record is not None:
                    yield place, record
                place += len(line)

    def at(self, place: int) -> dict[str, Any]:
        """Return the record at a place."""
        self._reader = self._reader or self.path.open("rb")
        self._reader.seek(place)
        return _object(self._reader.readline()) or {}

    def add(self, record: dict[str, Any]) -> int:
        """Write a record, which survives the end of this process; return its place."""
        place = self._file.seek(0, 2)
        self._file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        return place

    def close(self, done: bool = False) -> None:
        """Close the file, and delete it where it is not needed any more."""
        if self._reader is not None:
            self._reader.close()
        self._file.close()
        if done:
            self.path.unlink(missing_ok=True)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Keep other processes from doing the same with a catalog. Raises UsageError where one does."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(f"another process is at work on {what}; wait for its end") from error
    try:
        yield
    finally:
        lock.release()
