"""What identifies image files: their content, or a stand-in for it where reading it all would take too long."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from securitynet.cache import digest

WHOLE = 200 * 2**20


def of_files(paths: Sequence[Path]) -> str:
    """Return a digest of files, in order.

    Together up to 200 MB they count by content (sha256). Beyond that they count by size and time of modification: a file
    that is changed without changing both is not noticed, and a copy with new times counts as other data.
    """
    stats = [path.stat() for path in paths]
    if sum(stat.st_size for stat in stats) <= WHOLE:
        return digest([_sha256(path) for path in paths])
    return digest([(stat.st_size, stat.st_mtime_ns) for stat in stats])


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
