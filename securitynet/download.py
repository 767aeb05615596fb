"""The only way weights arrive: pinned, hashed, resumable, atomic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """Where files come from: `local` is a file or folder given by the user, which is used in place of any download."""

    cache: Path
    offline: bool = False
    progress: bool = True
    local: Path | None = None
