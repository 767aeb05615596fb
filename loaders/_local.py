"""Entries of models that are not in the catalog: files and folders of the user, repos on the Hub."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securitynet.data.dataset import find, resolve
from securitynet.download import SUFFIXES, Files, find_weights
from securitynet.download.hashes import digests_of
from securitynet.download.hub import Repo
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.loaders._annotation import facts_of, file_beside, joined
from securitynet.loaders._facts import Facts, read_json, timm_folder, transformers_folder
from securitynet.loaders._labels import card_facts, label_names
from securitynet.loaders.transformers import PREPROCESSOR, preprocessor_of

__all__ = ["SUFFIXES", "from_hub", "from_path"]
log = logging.getLogger(__name__)
SAFE, MEMBERS = "model.safetensors", "members.safetensors"
NEEDED = {
    "architecture": "--architecture LIBRARY:NAME",
    "num_classes": "--num-classes N",
    "input_size": "--input-size CHANNELS HEIGHT WIDTH",
    "mean": "--mean X ... (0 where pixels in [0,1] go in as they are)",
    "std": "--std X ... (1 where they do)",
}


def from_path(path: Path, record: Mapping[str, Any]) -> Entry:
    """Return the entry of a local file or folder from what is given about it, its own configs and its dataset.

    A file whose sha256 the catalog records needs no description. Raises UsageError that names every fact that is missing.
    """
    facts: Facts = {}
    folder = path.parent if path.name == SAFE else path
    if (folder / "config.json").is_file() and "architecture" not in record:
        facts = _of_folder(folder, record)
    elif not {"architecture", "loader"} & set(record):
        facts = _recognised(path)
    name = path.resolve().name if path.is_dir() else path.stem
    return _entry(str(path), {"id": f"local/{name}", "source": "local", "name": name, "loader": "checkpoint"}, facts, record)


def from_hub(name: str, record: Mapping[str, Any], files: Files) -> Entry:
    """Return the entry of `ORG/NAME[@revision]`, pinned to the commit that the revision means now. Raises DownloadError, LoadError."""
    repo_id, _, revision = name.partition("@")
    repo = Repo(repo_id, revision or None, f"hf-hub:{repo_id}", files.offline, files.progress)
    config = repo.file("config.json")
    commit = repo.pinned(config)
    pinned = Repo(repo_id, commit or repo.revision, repo.label, files.offline, files.progress)
    trigger = file_beside(facts_of(read_json(config), repo.label))
    for beside in (PREPROCESSOR, "README.md", MEMBERS, *([trigger] if trigger else [])):
        pinned.optional(beside)
    own = {"id": repo.label, "source": "hf-hub", "name": repo_id, "hub_id": repo_id, "revision": pinned.revision}
    return _entry(repo.label, own, _of_folder(config.parent, record), record)


def _of_folder(folder: Path, record: Mapping[str, Any]) -> Facts:
    """What a model folder says: its config in timm's, transformers' or our own format, its annotation, its card."""
    config = read_json(folder / "config.json")
    noted, base = facts_of(config, str(folder)), {}
    if "architecture" in config:
        base = timm_folder(config)
    elif "architectures" in config or not noted:
        base = transformers_folder(config, preprocessor_of(folder))
    facts = joined(base, card_facts(folder / "README.md", label_names(config), {**noted, **record}), noted)
    if (folder / MEMBERS).is_file():
        facts["members_file"] = MEMBERS
    return facts


def _recognised(path: Path) -> Facts:
    """The catalog's record of this very file, where it has one."""
    from securitynet import catalog

    found = digests_of(find_weights(path) if path.is_dir() else path)["sha256"]
    known = next((entry for entry in catalog.entries() if entry.weights_hash == found), None)
    if known is None:
        return {}
    log.info("%s is %s of the catalog", path, known.id)
    return known.to_record()


def _entry(label: str, own: Facts, facts: Mapping[str, Any], record: Mapping[str, Any]) -> Entry:
    """Join what is known, the user's word last, and ask for what is missing by name."""
    joined = {**own, **{key: value for key, value in facts.items() if value is not None}, **record}
    if joined.get("dataset"):
        joined = _of_dataset(joined) | joined
        joined["dataset"] = resolve(joined["dataset"]).key if find(joined["dataset"]) else joined["dataset"]
    missing = [name for name in NEEDED if joined.get(name) is None]
    if missing:
        options = " ".join(NEEDED[name] for name in missing)
        raise UsageError(f"{label}: the record lacks {', '.join(missing)}; give them in --entry RECORD.json, or as {options}")
    if joined.get("input_size"):
        joined.setdefault("channels", joined["input_size"][0])
    return Entry.from_record(joined)


def _of_dataset(joined: Mapping[str, Any]) -> Facts:
    """Classes and input size of the dataset, where the record leaves them open; a grey dataset may feed a colour network."""
    record = find(joined["dataset"])
    if record is None:
        return {}
    facts: Facts = {"num_classes": record.num_classes, "input_size": list(record.image_shape) if record.image_shape else None}
    size = joined.get("input_size") or facts["input_size"]
    if record.grey and size and size[0] == 3:
        facts["grey_to_rgb"] = True
    return {key: value for key, value in facts.items() if value is not None}
