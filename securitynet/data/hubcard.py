"""The metadata of a dataset repo, read within bounds before a library reads it: it says which files are opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from securitynet.errors import DataError
from securitynet.foreign import regular, yaml_mapping

MOST_BYTES = 20_000_000


def check_metadata(repo: str, sha: str) -> None:
    """Raise DataError where the card of a dataset repo at a commit multiplies by aliases, or names files that are not in the repo."""
    from datasets import config
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from securitynet.hub.frontmatter import split

    for name in (config.REPOCARD_FILENAME, config.REPOYAML_FILENAME):
        try:
            path = Path(hf_hub_download(repo, name, repo_type="dataset", revision=sha))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            continue
        if regular(path, DataError).stat().st_size > MOST_BYTES:
            raise DataError(f"{repo}: its {name} is too long for metadata")
        text = path.read_text(encoding="utf-8", errors="replace")
        stated = yaml_mapping(split(text)[0] if name.endswith(".md") else text, f"{repo}: {name}", DataError)
        for place in _texts(stated.get("configs")):
            if _leads_out(place):
                raise DataError(f"{repo}: {name} names {place[:80]}, which is no file in the repo; it is not opened")


def quiet(config: Any) -> None:
    """Keep the `datasets` library, whose config this is, from asking other hosts: the viewer's, and the one that counts loads."""
    config.USE_PARQUET_EXPORT = False
    config.HF_UPDATE_DOWNLOAD_COUNTS = False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)


def _leads_out(place: str) -> bool:
    return "://" in place or "::" in place or place.startswith(("/", "~", "\\")) or ".." in PurePosixPath(place.replace("\\", "/")).parts
