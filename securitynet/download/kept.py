"""Which files of an entry's weights lie in the caches, and how they go."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.download import SUFFIXES
from securitynet.download.hubcache import COMMIT

if TYPE_CHECKING:
    from securitynet.download import Files
    from securitynet.entry import Entry

NOTES = (".json", ".part")  # what the first download's hash was; what is not whole yet


def source_of(entry: Entry) -> str | None:
    """Return where an entry's weights come from; entries of the same source share its files. None where it names none."""
    return f"{entry.hub_id}@{entry.revision}" if entry.hub_id else entry.weights_url


def kept_files(entry: Entry, files: Files) -> list[Path]:
    """Return the files of the entry's source that are in the cache: no notes, and of a repo on the Hub the weights only."""
    if entry.hub_id:
        folder = _snapshot(entry.hub_id, entry.revision)
        return [path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file()] if folder else []
    found = files.folder(entry.weights_url).glob("*") if entry.weights_url else ()
    return [path for path in found if path.is_file() and path.suffix not in NOTES and path.name != "lock" and path.name[0] != "."]


def _snapshot(repo: str, revision: str | None) -> Path | None:
    """The folder of a commit in the Hub's cache; None where the cache does not know which commit a name means."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    commit = revision or "main"
    if not COMMIT.fullmatch(commit):
        with contextlib.suppress(OSError, ValueError):
            commit = (folder / "refs" / commit).read_text(encoding="ascii").strip()
    return folder / "snapshots" / commit if COMMIT.fullmatch(commit) else None


def size_of(paths: list[Path]) -> int:
    """Return the bytes of files; one that is gone has none."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def delete(paths: list[Path]) -> None:
    """Delete files, and what they link to in the Hub's cache; who wants them again fetches them again."""
    for path in paths:
        for one in (path.resolve(), path):
            with contextlib.suppress(OSError):
                one.unlink(missing_ok=True)
