"""Adapters of PEFT (LoRA and others): small changes to a base model, which is pinned as the adapter is."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from securitynet.cache import digest
from securitynet.download import Files, fetch, repo_of
from securitynet.errors import LoadError
from securitynet.loaders._budget import FAILURES
from securitynet.loaders._configs import Config, read_config, shown
from securitynet.loaders._parts import folder_of, inside_of, whole
from securitynet.loaders._state import state_dict
from securitynet.loaders._weights import read
from securitynet.loaders.transformers import Logits, model_folder, network_of

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.loaders._state import State
    from securitynet.target import Target

CONFIG, WEIGHTS, PREFIX = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin"), "base_model.model."
PROMPTS = ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "ADAPTION_PROMPT", "CPT")


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of an adapter on its base model (column `base_model`, ORG/NAME@commit or a folder of the user's own).

    Raises DownloadError, LoadError.
    """
    from securitynet.target import build

    folder = _folder(entry, files)
    weights = fetch(entry, files if folder_of(files) is None else replace(files, local=folder))
    state = state_dict(read(weights.path), entry, weights.path)
    base, base_files = base_of(entry, files)
    configs = model_folder(base, base_files)
    whole_base = whole(base, base_files, inside_of(base))
    network = network_of(replace(base, id=entry.id), configs, whole_base.state, head_of(state))
    adapted = _adapted(entry, network, read_config(folder / CONFIG), state)
    return build(entry, Logits(adapted), digest("adapter", whole_base.sha256, weights.sha256), folder)


def _folder(entry: Entry, files: Files) -> Path:
    if (folder := folder_of(files)) is not None:
        return folder
    return repo_of(entry, files).file(inside_of(entry) + CONFIG).parent


def base_of(entry: Entry, files: Files) -> tuple[Entry, Files]:
    """Return the entry of the base model, with as many classes as the adapter has, and where its files come from."""
    name, _, revision = (entry.base_model or "").partition("@")
    plain = replace(entry, hub_id=None, revision=None, weights_file=None, weights_hash=None, weights_size=None)
    if files.local is not None and Path(name).is_dir():
        return plain, replace(files, local=Path(name))
    return replace(plain, hub_id=name, revision=revision or None), replace(files, local=None)


def base_name(config: Config, local: bool) -> str:
    """Return the base model that an adapter names: ORG/NAME, or a folder for an adapter that is a folder of the user's own.

    Raises LoadError where it names none, or a path of its publisher's computer.
    """
    kind, name = config.text("peft_type") or "", config.text("base_model_name_or_path")
    if kind in PROMPTS:
        raise LoadError(
            f"{config.where}: an adapter of the kind {shown(kind)}, which changes texts and not networks; LoRA and its kin work"
        )
    if not name:
        raise LoadError(f"{config.where}: an adapter that does not name its base model (base_model_name_or_path)")
    if local and Path(name).is_dir():
        return str(Path(name).resolve())
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or "\\" in name:
        raise LoadError(
            f"{config.where}: its base model {shown(name)} is no repo of the Hub (ORG/NAME); ask the publisher for a merged model"
        )
    return name


def classes_of(path: Path) -> int | None:
    """Return the classes of the head that an adapter's file brings, None where it brings none. Raises LoadError."""
    heads = [tensor.shape[0] for name, tensor in read(path).items() if isinstance(name, str) and _is_head(name) and tensor.ndim]
    return int(heads[-1]) if heads else None


def _is_head(name: str) -> bool:
    return not any(part.startswith(("lora_", "hada_", "lokr_", "oft_", "vera_", "ia3_")) for part in name.split("."))


def head_of(state: State) -> frozenset[str]:
    """Return the keys of the base model that an adapter brings whole: its newly trained head."""
    kept = (name.removeprefix(PREFIX).replace("modules_to_save.", "").replace("default.", "") for name in state if _is_head(name))
    return frozenset(kept)


def _adapted(entry: Entry, network: nn.Module, config: Config, state: State) -> nn.Module:
    """The base network with the adapter in it. Raises LoadError where keys of the adapter find no place."""
    try:
        import peft
    except ImportError as error:
        raise LoadError(f"{entry.id}: an adapter needs the package peft; pip install 'securitynet[peft]'") from error
    known = {key: value for key, value in config.values.items() if key not in ("auto_mapping", "base_model_name_or_path", "revision")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a base model that has no name
            settings = peft.PeftConfig.from_peft_type(**{**known, "inference_mode": True})
            adapted: Any = peft.get_peft_model(network, settings)
            result = peft.set_peft_model_state_dict(adapted, dict(state))
    except (KeyError, *FAILURES) as error:
        raise LoadError(f"{entry.id}: peft does not take this adapter ({' '.join(str(error).split())[:200]})") from error
    missing = [name for name in result.missing_keys if "lora_" in name or "modules_to_save" in name]
    if missing or result.unexpected_keys:
        found = [*missing, *result.unexpected_keys]
        raise LoadError(
            f"{entry.id}: the adapter does not fit its base model {shown(entry.base_model)}: {', '.join(map(shown, found[:5]))}"
        )
    return adapted.eval()
