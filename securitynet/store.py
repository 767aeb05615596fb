"""Outputs on disk, image by image: a model is sent an image once per draw, ever, by whatever attack, split or process.

A book holds the outputs of one model: `NAME.values` is float32 [n, k], `NAME.keys` the key and a checksum of each row. Rows
are only ever added, under a lock, values first: of a process that is killed the last rows at most are missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from securitynet.claims import Claims
from securitynet.eviction import KEYS, ORDER, VALUES, count_in

log = logging.getLogger(__name__)
KEY = 16  # bytes of an image's key
HEAD, RECORD = struct.Struct("<4sI8s"), np.dtype([("key", f"V{KEY}"), ("sum", "<u4")])  # of NAME.keys
MAGIC = b"sno1"
COUNTED = 2**26  # bytes that are written before the size of the whole cache is looked at again
Values = NDArray[np.float32]


def key_of(pixels: np.ndarray) -> bytes:
    """Return the key of an image: of its shape, type and bytes."""
    data = np.ascontiguousarray(pixels)
    hasher = hashlib.sha256(f"{data.dtype.str}{data.shape}".encode())
    hasher.update(data.data)
    return hasher.digest()[:KEY]


class OutputStore:
    """The books below one directory (None: in memory only), at most `limit` bytes together with all that lies there.

    Where the disk is full, or the directory cannot be written, the run goes on in memory, which is reported once.
    """

    def __init__(self, directory: Path | None, limit: int | None = None, what: str = "outputs") -> None:
        self.directory, self.limit, self.what = directory, limit, what
        self.claims = None if directory is None else Claims(directory / ".claims")
        self._books: dict[str, Book] = {}
        self._uncounted = 0

    def book(self, name: str, dtype: type[np.generic] = np.float32) -> Book:
        """Return the book of that name: a digest of the model, of what decides its pixels, and of the draw."""
        return self._books.setdefault(name, Book(self, name, dtype))

    @property
    def writable(self) -> bool:
        """Whether outputs are kept on disk."""
        return self.claims is not None

    def write(self, folder: Path, work: Callable[[], object]) -> None:
        """Call `work` under the lock of a folder; after an error of the disk, there or on the way, all stays in memory."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                work()
        except OSError as error:
            reason = error.strerror or error
            log.warning("%s are no longer kept on disk, the run goes on without: %s (%s)", self.what, self.directory, reason)
            self.claims = None

    def order(self, name: str, count: int) -> list[bytes] | None:
        """Return the keys of the `count` images of a split whose digest is `name`, where they were noted."""
        path = self.directory and self.directory / name[:2] / f"{name}{ORDER}"
        try:
            data = path.read_bytes() if path else b""
        except OSError:
            return None
        return [data[KEY * row : KEY * (row + 1)] for row in range(count)] if count and len(data) == KEY * count else None

    def note_order(self, name: str, keys: Sequence[bytes]) -> None:
        """Note the keys of a split: its images need not be read to know their outputs."""
        if self.directory is not None and self.writable:
            folder, data = self.directory / name[:2], b"".join(keys)
            self.write(folder, lambda: _write(folder / f"{name}{ORDER}", 0, data))
            self.wrote(len(data))

    def wrote(self, size: int, last: bool = False) -> None:
        """Count bytes that were written; when they are many, or the `last` of a pass, make room for them."""
        self._uncounted += size
        if self.directory is None or self.limit is None or not self.writable or self._uncounted < (1 if last else COUNTED):
            return
        directory, size, limit = self.directory, self._uncounted, self.limit
        self.write(directory / ".claims", lambda: count_in(directory, size, limit))
        self._uncounted = 0


class Book:
    """The outputs of one model by the key of the image, or other rows of one width and type. What is not on disk is in memory."""

    def __init__(self, store: OutputStore, name: str, dtype: type[np.generic] = np.float32) -> None:
        self.store = store
        self.name = name
        self.dtype = np.dtype(dtype)
        self._rows: dict[bytes, int] = {}
        self._sums: list[int] = []
        self._memory: dict[bytes, Values] = {}
        self._head = b""
        self._width = 0

    def __len__(self) -> int:
        """Return how many images have outputs here."""
        return len(self._rows) + len(self._memory)

    def get(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], Values]:
        """Return which of the keys [n] are known, and the outputs float32 [m, k] of those, in their order.

        A row that is damaged, or that another process deleted, is not known from then on.
        """
        found: dict[int, Values] = {place: self._memory[key] for place, key in enumerate(keys) if key in self._memory}
        order = sorted((self._rows[key], place) for place, key in enumerate(keys) if place not in found and key in self._rows)
        for run in _runs(order):
            first = run[0][0]
            values = self._read(first, run[-1][0] - first + 1)
            for row, place in run:
                if row - first < len(values) and zlib.crc32(values[row - first].data) == self._sums[row]:
                    found[place] = values[row - first]
                else:
                    self._rows.pop(keys[place], None)
        known = np.zeros(len(keys), np.bool_)
        known[list(found)] = True
        return known, np.stack([found[place] for place in sorted(found)]) if found else np.empty((0, self._width), self.dtype)

    def missing(self, keys: Sequence[bytes]) -> int:
        """Return how many different images of `keys` have no outputs here."""
        return len({key for key in keys if not self._has(key)})

    def refresh(self) -> None:
        """Take notice of what this and other processes wrote."""
        paths = self._paths()
        if paths is None:
            return
        try:
            with open(paths[0], "rb") as file:
                head = file.read(HEAD.size)
                if head != self._head or os.fstat(file.fileno()).st_size < HEAD.size + len(self._sums) * RECORD.itemsize:
                    self._begin(head)
                file.seek(HEAD.size + len(self._sums) * RECORD.itemsize)
                written = file.read()
                room = paths[1].stat().st_size // (self.dtype.itemsize * self._width) - len(self._sums) if self._width else 0
        except OSError:  # none yet, or deleted to make room
            return self._begin(b"")
        records = np.frombuffer(written, RECORD, max(0, min(room, len(written) // RECORD.itemsize)))
        keys, first = records["key"].tobytes(), len(self._sums)
        self._rows.update((keys[KEY * row : KEY * (row + 1)], first + row) for row in range(len(records)))
        self._sums.extend(records["sum"].tolist())

    @contextlib.contextmanager
    def claimed(self, keys: Sequence[bytes]) -> Iterator[NDArray[np.bool_]]:
        """Give which of the keys [n] this process is to send: those that are not known and that no other process sends.

        The others are known later, or free again. Nobody waits while it holds a claim.
        """
        mine, claims, folder = np.ones(len(keys), np.bool_), self.store.claims, self._folder()

        def claim(claims: Claims) -> None:
            self.refresh()
            taken = claims.others(self.name, KEY)
            mine[:] = [not self._has(key) and key not in taken for key in keys]
            claims.make(self.name, [key for key, own in zip(keys, mine, strict=True) if own])

        if claims is not None and folder is not None:
            self.store.write(folder, lambda: claim(claims))
        try:
            yield mine
        finally:
            if claims is not None:
                with contextlib.suppress(OSError):
                    claims.clear()

    def add(self, keys: Sequence[bytes], values: Values) -> None:
        """Store outputs float32 [n, k] under their keys [n]."""
        data, folder = np.ascontiguousarray(values, self.dtype), self._folder()
        if self.store.writable and folder is not None and len(keys):
            self.store.write(folder, lambda: self._add(keys, data))
            self.store.wrote(data.nbytes + len(keys) * RECORD.itemsize)
        self._memory.update((key, row) for key, row in zip(keys, data, strict=True) if key not in self._rows)

    def _add(self, keys: Sequence[bytes], values: Values) -> None:
        self.refresh()
        self._append(keys, values)
        self.refresh()

    def _append(self, keys: Sequence[bytes], values: Values) -> None:
        """Write values behind the last whole row, then their keys; what an unfinished write left behind is overwritten."""
        paths, count = self._paths(), len(self._sums)
        if paths is None or (count and values.shape[1] != self._width):
            return
        records = np.empty(len(keys), RECORD)
        records["key"] = np.frombuffer(b"".join(keys), f"V{KEY}")
        records["sum"] = [zlib.crc32(row.data) for row in values]
        head = self._head if count else HEAD.pack(MAGIC, values.shape[1], secrets.token_bytes(8))
        _write(paths[1], count * self.dtype.itemsize * values.shape[1], values.tobytes())
        if not count:
            _write(paths[0], 0, head)
        _write(paths[0], HEAD.size + count * RECORD.itemsize, records.tobytes())

    def _read(self, first: int, count: int) -> Values:
        """Return rows `first` to `first + count` of the values, fewer where the file is gone or was cut."""
        flat, paths = np.empty(0, self.dtype), self._paths()
        if paths is not None:
            with contextlib.suppress(OSError):
                flat = np.fromfile(paths[1], self.dtype, count * self._width, offset=first * self.dtype.itemsize * self._width)
                os.utime(paths[1])  # used now: the books that were not used for longest make room
        return flat[: len(flat) // self._width * self._width].reshape(-1, self._width)

    def _has(self, key: bytes) -> bool:
        return key in self._rows or key in self._memory

    def _begin(self, head: bytes) -> None:
        """Read from the start: the file is another than before, or none."""
        self._rows, self._sums, self._head = {}, [], head
        magic, self._width, _ = HEAD.unpack(head) if len(head) == HEAD.size else (b"", 0, b"")
        if magic != MAGIC:
            self._width = 0

    def _folder(self) -> Path | None:
        return self.store.directory and self.store.directory / self.name[:2]

    def _paths(self) -> tuple[Path, Path] | None:
        """The files of keys and of values."""
        folder = self._folder()
        return None if folder is None else (folder / f"{self.name}{KEYS}", folder / f"{self.name}{VALUES}")


def _runs(order: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Part sorted (row, place) where rows do not follow each other: each part is read at once."""
    run: list[tuple[int, int]] = []
    for one in order:
        if run and one[0] > run[-1][0] + 1:
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _write(path: Path, place: int, data: bytes) -> None:
    """Write `data` at `place`, the new end of the file."""
    with open(path, "r+b" if path.exists() else "w+b") as file:
        file.truncate(place)
        file.seek(place)
        file.write(data)
