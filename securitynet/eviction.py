"""The limit on what is kept on disk: what was not used for longest goes."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from securitynet.errors import UsageError

LIMIT = "SECURITYNET_CACHE_LIMIT"
USUAL_LIMIT = "50GB"
ROOM = 0.9  # of the limit is kept when files must go, so that not every new one makes another go
STALE = 86_400  # seconds after which an unfinished file belongs to a process that was killed
VALUES, KEYS, ORDER = ".values", ".keys", ".order"  # of a book of outputs, see store.py
KEPT = (".safetensors", VALUES, ORDER)


def size_limit(wish: str | None = None) -> int:
    """Return how many bytes of outputs are kept: `wish` ("20GB", "500MB", bytes), else $SECURITYNET_CACHE_LIMIT, else 50 GB.

    Raises UsageError where it is no size.
    """
    text = wish or os.environ.get(LIMIT) or USUAL_LIMIT
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE)
    if found is None:
        raise UsageError(f"{text!r} is no limit of the cache: write a size such as 20GB, 500MB or a number of bytes")
    return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " "))


def count_in(directory: Path, size: int, limit: int) -> None:
    """Count `size` bytes more in a cache; where that makes more than `limit`, delete the files that were not used for longest.

    One process does it at a time. A reader whose file goes queries the model again.
    """
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
            _delete(path)
            total -= size
    return total


def _delete(path: Path) -> None:
    """Delete a file of arrays; of a book of outputs both files, while nobody writes there."""
    if path.suffix != VALUES:
        return path.unlink(missing_ok=True)
    with FileLock(path.parent / ".lock"):
        path.with_suffix(KEYS).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _files(directory: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was last used, its size, its path; unfinished files of killed processes are deleted."""
    for path in directory.glob("*/*"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.suffix in KEPT:
            beside = path.with_suffix(KEYS)
            yield stat.st_mtime, stat.st_size + (beside.stat().st_size if path.suffix == VALUES and beside.exists() else 0), path
        elif path.suffix == ".part" and time.time() - stat.st_mtime > STALE:
            path.unlink(missing_ok=True)
