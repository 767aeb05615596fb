"""What each process is about to send, so that no other process sends it too. A killed process's claims end with it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout


class Claims:
    """One file of claims per process below `directory`; a lock beside it is held as long as the process lives."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._held: tuple[int, Path, FileLock] | None = None

    def make(self, book: str, keys: Sequence[bytes]) -> None:
        """Claim images by their keys, all of one length, in `book`; what was claimed before is given up."""
        with open(self._own(), "wb") as file:
            file.write(b"".join([book.encode(), *keys]))

    def clear(self) -> None:
        """Give up what is claimed."""
        if self._held is not None and self._held[0] == os.getpid():
            self._held[1].write_bytes(b"")

    def others(self, book: str, length: int) -> set[bytes]:
        """Return the keys, of `length` bytes each, that other living processes claim in `book`."""
        found: set[bytes] = set()
        own = self._own()
        for path in self.directory.glob("*.claim"):
            if path == own:
                continue
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            if content and not self._alive(path):
                continue
            start = len(book)
            if content[:start] == book.encode():
                found |= {content[place : place + length] for place in range(start, len(content) - length + 1, length)}
        return found

    def _own(self) -> Path:
        """Return this process's file of claims; a forked process gets one of its own."""
        if self._held is None or self._held[0] != os.getpid():
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"{secrets.token_hex(8)}.claim"
            lock = FileLock(path.with_suffix(".alive"))
            lock.acquire(timeout=0)
            path.touch()
            self._held = (os.getpid(), path, lock)
        return self._held[1]

    def _alive(self, path: Path) -> bool:
        """Say whether the process that made the file lives; what a dead one left behind is deleted."""
        lock = FileLock(path.with_suffix(".alive"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        path.unlink(missing_ok=True)
        lock.release()
        path.with_suffix(".alive").unlink(missing_ok=True)
        return False

    def close(self) -> None:
        """End: the files go."""
        if self._held is not None and self._held[0] == os.getpid():
            _, path, lock = self._held
            path.unlink(missing_ok=True)
            lock.release()
            path.with_suffix(".alive").unlink(missing_ok=True)
        self._held = None

    def __del__(self) -> None:
        """A store that nobody uses any more claims nothing."""
        try:
            self.close()
        except (OSError, AttributeError, TypeError, ImportError):  # the interpreter is ending
            self._held = None
