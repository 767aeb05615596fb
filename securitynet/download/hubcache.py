"""The Hub's cache on this disk: what is there, what is known to be absent, and whether it is still what was fetched."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from securitynet.download.hashes import digests_of

log = logging.getLogger(__name__)
COMMIT = re.compile(r"[0-9a-f]{40}")
BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Known:
    """What the cache knows of a file: its path, or (None) that the repo has none."""

    path: Path | None


def known_file(repo: str, name: str, revision: str | None, kind: str = "model") -> Known | None:
    """Return what the cache knows of a file of a repo; None where it knows nothing. A damaged file is deleted and counts as unknown."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repo, name, revision=revision, repo_type=kind)
    except (HFValidationError, OSError, ValueError):
        return None
    if found is _CACHED_NO_EXIST:
        return Known(None)
    return Known(Path(found)) if isinstance(found, str) and sound(Path(found)) else None


def sound(path: Path) -> bool:
    """Say whether a file of the cache has the hash that the Hub gave it, which is the name of what it links to; delete it if not.

    LFS files have their sha256, others git's hash. Where files are no links, there is nothing to compare with.
    """
    if not path.is_symlink():
        return True
    blob = path.parent / os.readlink(path)
    if not BLOB.fullmatch(blob.name):
        return True
    digests = digests_of(path, "git-blob-sha1") if len(blob.name) == 40 else digests_of(path)
    if blob.name in digests.values():
        return True
    log.warning("%s in the Hub's cache is damaged: it is not what was fetched; it is deleted", path.name)
    for one in (path.resolve(), blob, path):
        one.unlink(missing_ok=True)
    return False


def note_absent(repo: str, name: str, revision: str | None) -> None:
    """Keep that a model repo has no such file at a revision, as the Hub's client does where the answer names the commit."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    reference = folder / "refs" / (revision or "main")
    commit = revision if revision and COMMIT.fullmatch(revision) else reference.read_text("ascii") if reference.is_file() else ""
    if COMMIT.fullmatch(commit) and (folder / "snapshots" / commit).is_dir():
        mark = folder / ".no_exist" / commit / name
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
