"""inspect(): from what a user calls a model to its contents. Nothing is run, and nothing that the loaders would not fetch but pickles."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from securitynet import catalog
from securitynet.download import Files, fetch, find_weights
from securitynet.download.hub import Repo
from securitynet.download.hubcache import COMMIT
from securitynet.entry import Entry
from securitynet.errors import DownloadError, HubError, LoadError, SecurityNetError, UsageError, shown
from securitynet.hub import frontmatter
from securitynet.loaders import HUB, LIBRARIES
from securitynet.loaders._configs import read_json
from securitynet.report.audit.contents import HOLD_CODE, MAY_BE_PICKLES, Contents, File, named_format, read_file

MOST_FILES, LARGEST = 2000, 1_000_000_000  # bytes of a pickle that is fetched to be read only
CONFIGS = ("config.json", "adapter_config.json", "tokenizer_config.json", "preprocessor_config.json")
USED = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin")  # the first that is there is read


def inspect(model: str | os.PathLike[str] | None, entry: Entry | None, files: Files) -> Contents:
    """Return the contents of a model: an id, a path, hf-hub:ORG/NAME or None, with its `entry` where that is known.

    What cannot be looked at has its reason there. Raises UsageError for an id that is unknown, DownloadError for a repo that is not there.
    """
    name = os.fspath(model) if model is not None else ""
    if name.endswith(".toml") or (entry is not None and entry.source == "endpoint"):
        return Contents("endpoint", reason="the model only returns outputs: its files are not here")
    if name.startswith(HUB):
        return _of_hub(*_repo(name.removeprefix(HUB)), entry, files)
    path = Path(name).expanduser() if name else None
    if path is not None and path.exists():
        return _of_path(path, entry)
    if entry is None:
        library, _, inner = name.partition(":")
        if library in LIBRARIES and inner:
            return Contents(f"the library {library}", reason=f"{library} fetches these weights; give the file itself to look into it")
        entry = catalog.entry(name)
    if entry.source == "local":
        return Contents("local", reason="where the files lie is not recorded; give the path")
    return _of_entry(entry, files)


def _repo(name: str) -> tuple[str, str | None, str]:
    whole, _, inside = name.partition(":")
    repo, _, revision = whole.partition("@")
    return repo, revision or None, f"{inside}/" if inside else ""


def _of_entry(entry: Entry, files: Files) -> Contents:
    if entry.loader == "builtin":
        from securitynet.loaders.builtin import folder_of

        found = _of_path(folder_of(entry), entry)
        return replace(found, source="ships with securitynet", pin="full sha256 in the catalog", commit=None)
    if entry.hub_id:
        inside = entry.weights_file.rpartition("/")[0] if entry.weights_file else ""
        return _of_hub(entry.hub_id, entry.revision, f"{inside}/" if inside else "", entry, files)
    if not entry.weights_url:
        return Contents(entry.source, licence=entry.licence, reason="the record has no address of the weights; give the file itself")
    try:
        weights = fetch(entry, files)
    except DownloadError as error:
        return Contents(entry.weights_url, licence=entry.licence, reason=str(error))
    file = read_file(weights.path, entry.weights_file or weights.path.name, weights=True)
    return _pinned(Contents(entry.weights_url, (file,), entry.licence, entry.base_model), entry)


def _of_path(path: Path, entry: Entry | None) -> Contents:
    """The contents of a file or a folder of the user's."""
    if path.is_file():
        found, folder = [read_file(path, path.name, weights=True)], path.parent
        needs: tuple[str, ...] = ()
        card: Mapping[str, Any] = {}
    else:
        folder = path
        listed = sorted(one for one in path.rglob("*") if one.is_file() and ".git" not in one.parts)
        used = _used_in(path, entry)
        found = [read_file(one, str(one.relative_to(path)), one.name in used) for one in listed[:MOST_FILES]]
        needs, card = _needed_code({name: folder / name for name in CONFIGS if (folder / name).is_file()}), _card(folder / "README.md")
    contents = Contents(
        str(path), tuple(found), _licence(entry, card), _base(entry, card), needs_code=needs,
        pin="the sha256 of this copy; where it comes from is not recorded",
    )  # fmt: skip
    return _pinned(contents, entry) if entry is not None and entry.weights_hash else contents


def _used_in(folder: Path, entry: Entry | None) -> tuple[str, ...]:
    try:
        return (find_weights(folder, entry.weights_file if entry else None).name,)
    except DownloadError:
        return tuple(one.name for one in folder.iterdir() if named_format(one.name) in HOLD_CODE)


@dataclass(frozen=True)
class _Listed:
    """A file as the Hub lists it."""

    name: str
    size: int | None
    sha256: str | None


def _of_hub(repo_id: str, revision: str | None, inside: str, entry: Entry | None, files: Files) -> Contents:
    """The contents of a repo at one commit; of its files, configs, the card and what may hold a pickle are fetched."""
    label = f"hf-hub:{repo_id}"
    commit, listed, note = _listing(repo_id, entry.revision if entry is not None and entry.revision else revision, files)
    if not listed:
        return Contents(label, commit=commit, reason=note or "the repo has no files")
    repo = Repo(repo_id, commit or revision, label, files.offline, files.progress)
    used = _used([one.name for one in listed], inside, entry)
    found = [_of_listed(one, repo, one.name in used) for one in listed[:MOST_FILES]]
    configs = {name: path for name in CONFIGS if inside + name in {one.name for one in listed} and (path := repo.optional(inside + name))}
    readme = repo.optional(f"{inside}README.md")
    card = _card(readme) if readme is not None else {}
    pin = f"commit {commit}" if commit and COMMIT.fullmatch(commit) else "no commit"
    contents = Contents(
        label, tuple(found), _licence(entry, card), _base(entry, card), commit, pin=pin, pinned=pin != "no commit",
        needs_code=_needed_code(configs), notes=(note,) if note else (),
    )  # fmt: skip
    return _hashed(contents, entry) if entry is not None and entry.weights_hash else contents


def _listing(repo_id: str, revision: str | None, files: Files) -> tuple[str | None, list[_Listed], str | None]:
    """The commit that a revision means, and its files; from the cache, with a note, where the Hub is not to be or cannot be asked."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx

    trouble = "no network is to be used"
    if not files.offline:
        try:
            info = HfApi().model_info(repo_id, revision=revision, files_metadata=True)
            siblings = info.siblings or []
            return info.sha, [_Listed(one.rfilename, one.size, one.lfs.sha256 if one.lfs else None) for one in siblings], None
        except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
            raise DownloadError(f"hf-hub:{repo_id}: the Hub has no such repo or revision, or it is private or gated") from error
        except (httpx.HTTPError, OfflineModeIsEnabled, OSError) as error:
            trouble = f"the Hub cannot be asked ({shown(str(error), 120)})"
    folder = _snapshot(repo_id, revision)
    if folder is None:
        return None, [], f"{trouble}, and nothing of {repo_id} is in its cache"
    names = sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())
    return folder.name, [_Listed(name, None, None) for name in names], f"{trouble}: only the files in the Hub's cache were looked at"


def _snapshot(repo_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError):
        return None


def _used(names: Sequence[str], inside: str, entry: Entry | None) -> tuple[str, ...]:
    """The files that a loader reads: those that the entry names, else the first usual one, shards included."""
    if entry is not None and entry.weights_file and not entry.weights_file.endswith(".json"):
        return (entry.weights_file,)
    for usual in USED:
        stem, suffix = usual.rsplit(".", 1)
        shards = [name for name in names if name.startswith(f"{inside}{stem}-") and name.endswith(f".{suffix}")]
        if inside + usual in names or shards:
            return tuple(shards) or (inside + usual,)
    return tuple(name for name in names if named_format(name) in HOLD_CODE and named_format(name) in MAY_BE_PICKLES)


def _of_listed(one: _Listed, repo: Repo, used: bool) -> File:
    """What is known of a file of a repo: what may hold a pickle, and the weights, are read; of others the name and the Hub's hash say."""
    found = named_format(one.name)
    if not used and found not in MAY_BE_PICKLES:
        return File(shown(one.name, 200), one.size, found, one.sha256)
    if not used and (one.size or 0) > LARGEST:
        return File(shown(one.name, 200), one.size, found, one.sha256, trouble=f"more than {LARGEST // 10**9} GB, not fetched")
    try:
        path = repo.file(one.name)
    except SecurityNetError as error:
        return File(shown(one.name, 200), one.size, found, one.sha256, trouble=f"not fetched ({shown(str(error), 160)})", weights=used)
    return replace(read_file(path, shown(one.name, 200), used), size=path.stat().st_size)


def _needed_code(configs: Mapping[str, Path]) -> tuple[str, ...]:
    """What configs want to be run: the classes of `auto_map`."""
    found = []
    for name, path in configs.items():
        try:
            listed = read_json(path).get("auto_map")
        except LoadError:
            continue
        values = listed.values() if isinstance(listed, Mapping) else [listed] if listed else []
        found += [f"{name}: {shown(str(one), 80)}" for one in list(values)[:5]]
    return tuple(found)


def _card(path: Path) -> Mapping[str, Any]:
    """The metadata of a card; one that cannot be read states nothing."""
    try:
        return frontmatter.read(path.read_text(encoding="utf-8", errors="replace")[:1_000_000], path.name) if path.is_file() else {}
    except (HubError, OSError, ValueError, json.JSONDecodeError, UsageError):
        return {}


def _licence(entry: Entry | None, card: Mapping[str, Any]) -> str | None:
    stated = entry.licence if entry is not None and entry.licence else card.get("license")
    return shown(str(stated), 80) if isinstance(stated, str) and stated else None


def _base(entry: Entry | None, card: Mapping[str, Any]) -> str | None:
    stated = entry.base_model if entry is not None and entry.base_model else card.get("base_model")
    listed = stated if isinstance(stated, list) else [stated]
    named = [shown(str(one), 120) for one in listed[:5] if isinstance(one, str) and one]
    return ", ".join(named) or None


def _pinned(contents: Contents, entry: Entry) -> Contents:
    """The same with the pin that the entry's hash is; a prefix of a hash is none."""
    full = entry.integrity == "full" and bool(entry.weights_hash)
    prefix = f"only {len(entry.weights_hash or '')} digits of a {entry.hash_algorithm or 'sha256'}, which pin nothing"
    pin = f"full {entry.hash_algorithm or 'sha256'}" if full else prefix if entry.weights_hash else "no hash is recorded"
    return _hashed(replace(contents, pin=pin, pinned=full), entry)


def _hashed(contents: Contents, entry: Entry) -> Contents:
    """The same with the recorded hash, and whether the weights have another: archives and other algorithms are checked on download."""
    known = contents.weights[0].sha256 if len(contents.weights) == 1 else None
    compared = (
        known is not None and (entry.hash_algorithm or "sha256") == "sha256" and not (entry.archive_member and entry.hash_of == "member")
    )
    differs = compared and not (known or "").startswith((entry.weights_hash or "").lower())
    return replace(contents, integrity=entry.integrity, recorded=entry.weights_hash, differs=differs)
