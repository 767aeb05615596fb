"""Adapters of PEFT (LoRA and others): small changes to a base model, which is pinned as the adapter is."""

from __future__ import annotations

import re
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
ADAPTED = r"\b(lora_|hada_|lokr_|oft_|boft_|vera_|ia3_|modules_to_save)"
HEAD = re.compile(r"classif|head|score|logits|\bfc\b")
LONGEST, MERGED = 4000, "ask the publisher for a merged model"
LAYERS = frozenset(
    (
        *("r", "lora_alpha", "target_modules", "exclude_modules", "modules_to_save", "bias", "fan_in_fan_out", "use_rslora", "use_dora"),
        *("rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "lora_bias", "feedforward_modules", "alpha"),
        *("use_effective_conv2d", "decompose_both", "decompose_factor", "use_scalar", "oft_block_size", "coft", "block_share"),
    )
)
ABOUT = frozenset(  # how it was trained, or where it comes from
    (
        *("peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_version"),
        *("lora_dropout", "rank_dropout", "module_dropout", "init_lora_weights", "init_weights", "init_ia3_weights", "eva_config"),
        *("ensure_weight_tying", "megatron_core", "runtime_config", "loftq_config"),
    )
)
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
    config = read_config(folder / CONFIG)
    network = network_of(replace(base, id=entry.id), configs, whole_base.state, head_of(state, config))
    adapted = _adapted(entry, network, config, state)
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


def classes_of(path: Path, config: Config) -> int | None:
    """Return the classes of the head that an adapter's file brings, None where it brings none. Raises LoadError."""
    whole = {name: tensor for name, tensor in read(path).items() if isinstance(name, str) and _is_whole(name, config)}
    heads = [tensor.shape[0] for name, tensor in whole.items() if tensor.ndim == 2 and HEAD.search(name)]
    return int(heads[-1]) if heads else None


def _is_whole(name: str, config: Config) -> bool:
    """Whether a tensor belongs to a module that the adapter brings whole."""
    return any(part in config.texts("modules_to_save") for part in name.split("."))


def head_of(state: State, config: Config) -> frozenset[str]:
    """Return the keys of the base model that an adapter brings whole: its newly trained head."""
    kept = (name for name in state if _is_whole(name, config))
    return frozenset(name.removeprefix(PREFIX).replace("modules_to_save.", "").replace("default.", "") for name in kept)


def _settings(config: Config) -> Any:
    """The settings of an adapter as peft takes them: those that say which layers change and how, and no others.

    Raises LoadError for a setting that changes anything else, such as the base weights.
    """
    import peft

    kind = config.text("peft_type") or ""
    if kind not in peft.PEFT_TYPE_TO_CONFIG_MAPPING:
        raise LoadError(f"{config.where}: peft has no adapters of the kind {shown(kind)}")
    usual = vars(peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind](target_modules=["x"]))
    start = config.values.get("init_lora_weights")
    if start not in (None, True, False, "gaussian", "orthogonal", "eva"):
        raise LoadError(
            f"{config.where}: init_lora_weights {shown(start)} changes the base weights too; ask the publisher for a merged model"
        )
    known = {}
    for key, value in config.values.items():
        if key in LAYERS:
            known[key] = value
        elif key not in ABOUT and value not in (None, False, [], {}) and value != usual.get(key):
            raise LoadError(
                f"{config.where}: the setting {shown(key)} of an adapter is not supported; ask the publisher for a merged model"
            )
    if len(str(known.get("target_modules"))) > LONGEST:
        raise LoadError(f"{config.where}: target_modules is too long")
    return peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind](**known, inference_mode=True)


def _adapted(entry: Entry, network: nn.Module, config: Config, state: State) -> nn.Module:
    """The base network with the adapter in it. Raises LoadError where keys of the adapter find no place."""
    try:
        import peft
    except ImportError as error:
        raise LoadError(f"{entry.id}: an adapter needs the package peft; pip install 'securitynet[peft]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a base model that has no name
            adapted: Any = peft.get_peft_model(network, _settings(config))
            result: Any = peft.set_peft_model_state_dict(adapted, dict(state))
    except FAILURES as error:
        raise LoadError(f"{entry.id}: peft does not take this adapter ({' '.join(str(error).split())[:200]})") from error
    missing = [name for name in result.missing_keys if re.search(ADAPTED, name)]
    if missing or result.unexpected_keys:
        found = [*missing, *result.unexpected_keys]
        raise LoadError(
            f"{entry.id}: the adapter does not fit its base model {shown(entry.base_model)}: {', '.join(map(shown, found[:5]))}"
        )
    return adapted.eval()
