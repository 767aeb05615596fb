"""What was read from the Hub, line by line on disk as it arrives, so that a call that was cut off goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from securitynet.errors import UsageError


class Journal:
    """JSON lines that are only added to. A line that was cut off in mid-writing does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        if self._file.tell() and (self._file.seek(-1, 2), self._file.read(1))[1] != b"\n":
            self._file.write(b"\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.flush()
        with self.path.open("rb") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record

    def add(self, record: dict[str, Any]) -> None:
        """Write a record; it survives the end of this process."""
        self._file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def close(self, done: bool = False) -> None:
        """Close the file, and delete it where it is not needed any more."""
        self._file.close()
        if done:
            self.path.unlink(missing_ok=True)


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
