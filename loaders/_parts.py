"""The weights of a model repo, whichever form they have: one file, safetensors or a checkpoint, or several with an index."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from securitynet.cache import digest
from securitynet.download import Files, fetch, repo_of
from securitynet.entry import Entry
from securitynet.errors import DownloadError, LoadError
from securitynet.loaders._configs import read_json, shown
from securitynet.loaders._forms import form_of
from securitynet.loaders._keys import renamed
from securitynet.loaders._state import State, state_dict
from securitynet.loaders._weights import read

USUAL = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
INDEX = ".index.json"
SHARD = re.compile(r"[\w-][\w.-]*\.(safetensors|bin)")
MOST_SHARDS = 500


@dataclass(frozen=True)
class Whole:
    """All tensors of a model by name, the sha256 of the file (of all files, where there are several), and the first file."""

    state: State
    sha256: str
    path: Path


def folder_of(files: Files) -> Path | None:
    """Return the folder that the user gave, or that of the file; None where files come from elsewhere."""
    return None if files.local is None else files.local if files.local.is_dir() else files.local.parent


def weights_name(entry: Entry, files: Files, inside: str = "") -> str | None:
    """Return the name of the weights file, or of the index of several, in a model folder or repo; None for a name of the user's own.

    `inside`: the folder of the repo, with its slash. Raises LoadError that says what the repo is where it has no such file.
    """
    if entry.weights_file is not None:
        return entry.weights_file
    folder = folder_of(files)
    if folder is not None:
        if files.local != folder:
            return files.local.name if files.local is not None and files.local.name.endswith(INDEX) else None
        found = next((name for name in USUAL if (folder / name).is_file()), None)
        if found is None and (form := form_of(names_in(folder))):
            raise LoadError(f"{entry.id}: {form}")
        return found
    repo = repo_of(entry, files)
    for name in USUAL:
        if repo.has(inside + name):
            return inside + name
    if form := form_of(repo_names(entry, files)):
        raise LoadError(f"{entry.id}: {form}")
    if repo.find(inside + USUAL[0]) is None:  # where nobody could be asked, that is what it says
        raise LoadError(f"{entry.id}: the repo {entry.hub_id} has none of {', '.join(inside + name for name in USUAL)}")
    return inside + USUAL[0]


def inside_of(entry: Entry) -> str:
    """Return the folder of the repo that holds the weights, with its slash; empty for the repo itself."""
    parent = PurePosixPath(entry.weights_file or "").parent
    return "" if str(parent) == "." else f"{parent}/"


def one_file(entry: Entry, files: Files) -> Whole:
    """Return the weights of an entry that has them in one file, read safely. Raises DownloadError, LoadError."""
    weights = fetch(entry, files)
    return Whole(state_dict(read(weights.path), entry, weights.path, guess=files.local is not None), weights.sha256, weights.path)


def several(entry: Entry, files: Files) -> Whole:
    """Return the weights of an entry whose members lie in files of their own, under `models.0.`, `models.1.`, ... in their order.

    A folder of the user's has them as `STEM_m0.pt`, `STEM_m1.pt`, ..., where the record names `STEM.pt`; a single file has all of them.
    Raises DownloadError, LoadError.
    """
    if files.local is not None and files.local.is_file():
        return one_file(entry, files)
    state: dict[str, Any] = {}
    hashes, path = [], Path()
    name = PurePosixPath(entry.weights_file or "weights.pt")
    for number, address in enumerate((entry.weights_url, *(entry.more_weights or ()))):
        member = replace(
            entry, weights_url=address, weights_file=f"{name.stem}_m{number}{name.suffix}", weights_size=None, weights_hash=None
        )
        part = one_file(replace(member, keys=None, more_weights=None), files)
        state |= {f"models.{number}.{key}": tensor for key, tensor in part.state.items()}
        hashes.append([number, part.sha256])
        path = part.path
    return Whole(renamed(state, entry), digest("shards", hashes), path)


def whole(entry: Entry, files: Files, inside: str = "") -> Whole:
    """Return the weights of an entry, read safely. Raises DownloadError, LoadError."""
    name = weights_name(entry, files, inside)
    if name is None or not name.endswith(INDEX):
        return one_file(entry if name is None else replace(entry, weights_file=name), files)
    folder = folder_of(files)
    parts = None if folder is None else replace(files, local=folder)
    path = repo_of(entry, files).file(name) if folder is None else folder / name
    state: dict[str, Any] = {}
    hashes = []
    for shard in _shards(path):
        file = str(PurePosixPath(name).with_name(shard))
        if folder is not None and not (folder / file).is_file():
            raise LoadError(f"{entry.id}: {name} lists {shard}, which is missing")
        weights = fetch(replace(entry, weights_file=file, weights_hash=None, weights_size=None), parts or files)
        state |= state_dict(read(weights.path), entry, weights.path)
        hashes.append([shard, weights.sha256])
    return Whole(state, digest("shards", hashes), path)


def _shards(index: Path) -> list[str]:
    """The names of the files that an index lists, sorted. Raises LoadError."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, Mapping) or not listed:
        raise LoadError(f"{index.name}: weight_map must be an object of file names, not {shown(listed)}")
    names = set(map(str, listed.values()))
    for name in sorted(names):
        if not SHARD.fullmatch(name):
            raise LoadError(f"{index.name}: weight_map names {shown(name)}, which is no file beside it")
    if len(names) > MOST_SHARDS:
        raise LoadError(f"{index.name}: weight_map names {len(names):,} files, which no classifier has")
    return sorted(names)


def names_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder and in the folders in it."""
    return sorted(path.name for pattern in ("*", "*/*") for path in folder.glob(pattern))[:10_000]


def repo_names(entry: Entry, files: Files) -> list[str]:
    """Return the names of the files of a repo, none where nobody can be asked."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import httpx

    if files.offline:
        return []
    try:
        return list(HfApi().list_repo_files(entry.hub_id or "", revision=entry.revision))
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError, DownloadError):
        return []
