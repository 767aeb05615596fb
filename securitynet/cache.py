"""Outputs on disk, content-addressed: a model answers a split once, ever."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.errors import UsageError

ENVIRONMENT, LIMIT = "SECURITYNET_CACHE", "SECURITYNET_CACHE_LIMIT"
USUAL_LIMIT = "50GB"
ROOM = 0.9  # of the limit is kept when files must go, so that not every new one makes another go
STALE = 86_400  # seconds after which an unfinished file belongs to a process that was killed


def cache_root(override: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache directory: `override`, else $SECURITYNET_CACHE, else `securitynet` in the user's cache."""
    if override is not None:
        return Path(override).expanduser()
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "securitynet"


def digest(*parts: object) -> str:
    """Return the sha256 of the JSON of `parts`, the key of everything in the cache."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}.part"
    part.touch(exist_ok=False)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def size_limit(wish: str | None = None) -> int:
    """Return how many bytes of answers are kept: `wish` ("20GB", "500MB", bytes), else $SECURITYNET_CACHE_LIMIT, else 50 GB.

    Raises UsageError where it is no size.
    """
    text = wish or os.environ.get(LIMIT) or USUAL_LIMIT
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{text!r} is no limit of the cache: write a size such as 20GB, 500MB or a number of bytes")
    return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " "))


def count_in(directory: Path, size: int, limit: int) -> None:
    """Count `size` bytes more in a cache; where that makes more than `limit`, delete the files that were not used for longest.

    One process does it at a time. A reader whose file goes asks the model again.
    """
    from filelock import FileLock

    known = directory / ".bytes"
    with FileLock(directory / ".lock"):
        text = known.read_text(encoding="ascii") if known.exists() else ""
        total = int(text) + size if text.isdigit() else limit + 1
        if total > limit:
            total = _evicted(directory, limit)
        known.write_text(str(total), encoding="ascii")


def _evicted(directory: Path, limit: int) -> int:
    """Look at all files; where they exceed the limit, delete the oldest until there is room. Return the bytes that are left."""
    files = sorted(_files(directory))
    total = sum(size for _, size, _ in files)
    if total > limit:
        for _, size, path in files:
            if total <= ROOM * limit:
                break
            path.unlink(missing_ok=True)
            total -= size
    return total


def _files(directory: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was last used, its size, its path; unfinished files of killed processes are deleted."""
    for path in directory.glob("*/*"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.suffix == ".safetensors":
            yield stat.st_mtime, stat.st_size, path
        elif path.suffix == ".part" and time.time() - stat.st_mtime > STALE:
            path.unlink(missing_ok=True)


class ArrayCache:
    """Arrays by key under one directory (None: memory only). A damaged file is dropped and counts as absent.

    With a `limit` in bytes, files that were not used for longest go when there are more. Several processes may use one directory.
    """

    def __init__(self, directory: Path | None, limit: int | None = None) -> None:
        self.directory, self.limit = directory, limit
        self._memory: dict[str, dict[str, np.ndarray]] = {}

    def path(self, key: str) -> Path | None:
        """Return the file that holds, or would hold, the arrays of `key`."""
        return self.directory / key[:2] / f"{key}.safetensors" if self.directory else None

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """Return the arrays stored under `key`, or None."""
        path = self.path(key)
        if key not in self._memory and path is not None and path.exists():
            from safetensors import SafetensorError
            from safetensors.numpy import load_file

            try:
                self._memory[key] = load_file(path)
            except (SafetensorError, OSError):
                path.unlink(missing_ok=True)
            else:
                with contextlib.suppress(OSError):  # evicted just now, or not ours to touch
                    os.utime(path)
        return self._memory.get(key)

    def put(self, key: str, arrays: dict[str, np.ndarray], write: bool = True, **note: Any) -> None:
        """Store `arrays` under `key`; `write` is False on all processes but the first. `note` goes into the file's header."""
        self._memory[key] = arrays
        path = self.path(key)
        if not write or path is None:
            return
        from safetensors.numpy import save

        data = save({name: np.ascontiguousarray(value) for name, value in arrays.items()}, {k: str(v) for k, v in note.items()})
        with replacing(path) as part:  # not by the library itself, whose errors do not say that the disk is full
            part.write_bytes(data)
        if self.directory is not None and self.limit is not None:
            count_in(self.directory, path.stat().st_size if path.exists() else 0, self.limit)
