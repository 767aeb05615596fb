"""Entries of models that are not in the catalog: files and folders of the user, repos on the Hub."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from securitynet.data.dataset import find, resolve
from securitynet.download import SUFFIXES, Files, find_weights
from securitynet.download.hashes import digests_of
from securitynet.download.hub import Repo, Unreachable
from securitynet.entry import Entry
from securitynet.errors import LoadError, UsageError
from securitynet.loaders._annotation import facts_of, file_beside, joined
from securitynet.loaders._configs import read_config, read_json
from securitynet.loaders._facts import Facts, merged
from securitynet.loaders._formats import timm_folder, transformers_folder
from securitynet.loaders._forms import form_of
from securitynet.loaders._labels import card_facts, label_names
from securitynet.loaders._parts import USUAL, names_in, repo_names, weights_name
from securitynet.loaders._processor import checked, processor_facts
from securitynet.loaders.adapter import CONFIG as ADAPTER
from securitynet.loaders.adapter import WEIGHTS as ADAPTED
from securitynet.loaders.adapter import base_name, classes_of
from securitynet.loaders.transformers import BESIDE

__all__ = ["SUFFIXES", "from_hub", "from_path"]
log = logging.getLogger(__name__)
SAFE, MEMBERS = "model.safetensors", "members.safetensors"
NEITHER = "its config.json is neither in timm's nor in transformers' format; models in these formats work"
PART = re.compile(r"[\w-][\w.-]*")
OF_THE_BASE = ("dataset", "claimed_accuracy", "claimed_split", "claim_source", "class_list", "notes")  # not of what was trained on top
NEEDED = {
    "architecture": "--architecture LIBRARY:NAME",
    "num_classes": "--num-classes N",
    "input_size": "--input-size CHANNELS HEIGHT WIDTH",
    "mean": "--mean X ... (0 where pixels in [0,1] go in as they are)",
    "std": "--std X ... (1 where they do)",
}


def is_model(folder: Path) -> bool:
    """Say whether a folder holds a model that says what it is. Raises LoadError for another form of model, by the names of its files."""
    if any((folder / name).is_file() for name in ("config.json", ADAPTER)):
        return True
    if (form := form_of(names_in(folder))) is not None:
        raise LoadError(f"{folder}: {form}")
    return False


def from_path(path: Path, record: Mapping[str, Any], files: Files) -> Entry:
    """Return the entry of a local file or folder from what is given about it, its own configs and its dataset.

    A file whose sha256 the catalog records needs no description. Raises UsageError that names every fact that is missing.
    """
    facts: Facts = {}
    folder = path if path.is_dir() else path.parent
    whole = path.is_dir() or path.name in USUAL
    if path.is_dir() and (folder / ADAPTER).is_file() and not any((folder / name).is_file() for name in USUAL):
        facts = _of_adapter(folder, str(path), record, files)
    elif whole and (folder / "config.json").is_file() and "architecture" not in record:
        facts = _of_folder(folder, record)
    elif not {"architecture", "loader"} & set(record):
        facts = _recognised(path)
    name = path.resolve().name if path.is_dir() else path.stem
    return _entry(str(path), {"id": f"local/{name}", "source": "local", "name": name, "loader": "checkpoint"}, facts, record)


def from_hub(name: str, record: Mapping[str, Any], files: Files) -> Entry:
    """Return the entry of `ORG/NAME[@revision][:folder]`, pinned to the commit that the revision means now.

    Raises UsageError, DownloadError, LoadError.
    """
    whole, _, inside = name.partition(":")
    repo_id, _, revision = whole.partition("@")
    place = _inside(name, inside)
    label = f"hf-hub:{repo_id}{f':{inside}' if inside else ''}"
    repo = Repo(repo_id, revision or None, label, files.offline, files.progress)
    config, adapter = _configs(repo, place, files)
    pinned = replace(repo, revision=repo.pinned(config) or repo.revision)
    own = {"id": label, "source": "hf-hub", "name": repo_id, "hub_id": repo_id, "revision": pinned.revision}
    trigger = file_beside(facts_of(read_json(config), label)) if adapter is None else None
    for beside in (*BESIDE, "README.md", MEMBERS, *([trigger] if trigger else [])):
        pinned.optional(place + beside)
    if adapter is not None:
        pinned.optional(f"{place}config.json")
        found = next((one for one in ADAPTED if pinned.optional(place + one) is not None), None)
        facts = _of_adapter(adapter.parent, label, record, files, local=False) | {"weights_file": f"{place}{found}"}
    else:
        facts = _of_folder(config.parent, record, lambda: repo_names(Entry.from_record(own), files))
        if facts.get("loader") in ("transformers", "timm") and "weights_file" not in record:
            facts["weights_file"] = weights_name(Entry.from_record(own), files, place)
        elif place:
            facts["weights_file"] = place + SAFE
    if place and facts.get("members_file"):
        facts["members_file"] = place + MEMBERS
    return _entry(label, own, facts, record)


def _inside(name: str, inside: str) -> str:
    """The folder of a repo that is meant, with its slash."""
    parts = inside.split("/") if inside else []
    if any(not PART.fullmatch(part) for part in parts) or (":" in name and not parts):
        raise UsageError(f"hf-hub:{name[:120]}: give hf-hub:ORG/NAME, with @REVISION and :FOLDER where they matter")
    return "".join(f"{part}/" for part in parts)


def _configs(repo: Repo, place: str, files: Files) -> tuple[Path, Path | None]:
    """The config of a model, and that of an adapter where the repo is one, which then is both.

    Raises DownloadError, or LoadError that says what a repo without a config is, as far as its files' names tell.
    """
    away: Unreachable | None = None
    try:
        config = repo.find(f"{place}config.json")
    except Unreachable as error:  # one try is enough: what is not in the cache is not there
        config, away, repo = None, error, replace(repo, offline=True)
    pinned = repo if config is None else replace(repo, revision=repo.pinned(config) or repo.revision)
    adapter = pinned.optional(place + ADAPTER)
    if adapter is not None and any(pinned.has(place + one) for one in USUAL):
        adapter = None
    if (found := adapter or config) is not None:
        return found, adapter
    if away is not None:
        raise away
    if (form := form_of(repo_names(Entry(id=repo.label, hub_id=repo.id, revision=repo.revision), files))) is not None:
        raise LoadError(f"{repo.label}: {form}")
    return repo.file(f"{place}config.json"), None  # whose absence it says


def _of_folder(folder: Path, record: Mapping[str, Any], others: Callable[[], Iterable[str]] = tuple) -> Facts:
    """What a model folder says: its config in timm's, transformers' or our own format, its annotation, its card.

    `others`: the names of files of the repo that are not there, for a config in none of these formats.
    """
    config = read_config(folder / "config.json")
    noted, base = facts_of(config.values, str(folder)), {}
    if config.text("architecture") is not None:
        base = timm_folder(config)
    elif config.has("architectures") or config.has("model_type"):
        base = transformers_folder(config, folder)
    elif not noted:
        form = form_of([*names_in(folder), *others()])
        raise LoadError(f"{folder}: {form or NEITHER}")
    facts = joined(base, card_facts(folder / "README.md", label_names(config.values), {**noted, **record}), noted)
    if (folder / MEMBERS).is_file():
        facts["members_file"] = MEMBERS
    return facts


def _of_adapter(folder: Path, label: str, record: Mapping[str, Any], files: Files, local: bool = True) -> Facts:
    """What an adapter and the configs of its base model say; its own config and processor go before those of the base."""
    adapter = read_config(folder / ADAPTER)
    name = base_name(adapter, local)
    base, configs = _base(name, adapter.text("revision"), label, files)
    facts = _of_folder(configs, {**record, "class_map": "identity"}) | {
        "loader": "adapter",
        "architecture": f"transformers:{adapter.text('peft_type') or 'adapter'}",
    }
    if (folder / "config.json").is_file():
        facts |= transformers_folder(read_config(folder / "config.json"), folder if checked(folder) else configs) | {"loader": "adapter"}
    elif checked(folder):
        facts |= processor_facts(folder, read_config(configs / "config.json"))
    weights = next((folder / one for one in ADAPTED if (folder / one).is_file()), None)
    if weights is None:
        raise LoadError(f"{label}: an adapter without its weights ({' or '.join(ADAPTED)})")
    if (classes := classes_of(weights, adapter)) is not None:
        facts["num_classes"] = classes
    named = folder if (folder / "config.json").is_file() else configs if classes is None else None
    names = label_names(read_json(named / "config.json")) if named is not None else []
    kept = {key: value for key, value in facts.items() if key not in OF_THE_BASE}
    return kept | card_facts(folder / "README.md", names, record) | {"base_model": base, "weights_file": weights.name}


def _base(name: str, revision: str | None, label: str, files: Files) -> tuple[str, Path]:
    """The base model of an adapter, pinned, ORG/NAME@commit, and the folder of its configs."""
    if Path(name).is_dir():
        return name, Path(name)
    repo = Repo(name, revision, f"{label}, base model {name}", files.offline, files.progress)
    config = repo.file("config.json")
    pinned = replace(repo, revision=repo.pinned(config) or repo.revision)
    for beside in BESIDE:
        pinned.optional(beside)
    return f"{name}@{repo.pinned(config) or revision or 'main'}", config.parent


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
    joined = merged({**own, **{key: value for key, value in facts.items() if value is not None}}, record)
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
