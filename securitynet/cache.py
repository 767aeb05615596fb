"""Arrays on disk, content-addressed, and the limit on all that is kept there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.eviction import LIMIT as LIMIT  # said twice: others take them from here
from securitynet.eviction import count_in
from securitynet.eviction import size_limit as size_limit
from securitynet.store import OutputStore

ENVIRONMENT = "SECURITYNET_CACHE"


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


class ArrayCache:
    """Arrays by key under one directory (None: memory only). A damaged file is dropped and counts as absent.

    With a `limit` in bytes, files that were not used for longest go when there are more. Several processes may use one directory.
    The outputs of models are in `outputs`, image by image, in the same place.
    """

    def __init__(self, directory: Path | None, limit: int | None = None) -> None:
        self.directory, self.limit = directory, limit
        self.outputs = OutputStore(directory, limit)
        self._memory: dict[str, dict[str, np.ndarray]] = {}

    def path(self, key: str) -> Path | None:
        """Return the file that holds, or would hold, the arrays of `key`."""
        return self.directory / key[:2] / f"{key}.safetensors" if self.directory else None

    def get(self, key: str, wanted: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, np.ndarray] | None:
        """Return the arrays stored under `key`, or None: also where they are not those `wanted`, by name and shape."""
        found = self._got(key)
        if found is None or wanted is None or _shapes(found) == {name: shape or (1,) for name, shape in wanted.items()}:
            return found
        del self._memory[key]
        return None

    def _got(self, key: str) -> dict[str, np.ndarray] | None:
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


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shapes of arrays as they are stored: a single number is an array of one."""
    return {name: one.shape or (1,) for name, one in arrays.items()}
