"""Models of timm: names of its registry, repos on the Hub and folders in its format."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from securitynet.download import Files
from securitynet.errors import LoadError, unknown
from securitynet.loaders._architectures import build_network
from securitynet.loaders._budget import Size
from securitynet.loaders._facts import Facts, complete
from securitynet.loaders._formats import timm_preprocessing
from securitynet.loaders._keys import normalised
from securitynet.loaders._parts import folder_of, inside_of, one_file, whole
from securitynet.loaders._state import State, load_strictly

if TYPE_CHECKING:
    from torch import nn

    from securitynet.entry import Entry
    from securitynet.target import Target

FILTERS = ("checkpoint_filter_fn", "_filter_fn")
WRAPPER = "timm_model."  # before every key of a repo that transformers wrote from a timm network


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of a timm network; what the entry leaves open is taken from timm's registry.

    The architecture is built with fresh weights and loaded strictly from a file that was fetched and read safely. Raises
    UsageError, DownloadError, LoadError.
    """
    from securitynet.target import build

    name = (entry.architecture or entry.name).removeprefix("timm:")
    if "." in name or not (entry.hub_id or entry.weights_url or files.local):  # a tag names weights, whose facts are registered
        entry = complete(entry, describe(name))
    weights = whole(entry, files, inside_of(entry)) if _is_folder(entry, files) else one_file(entry, files)
    network = build_network(entry, Size.of(weights.state))
    entry, state = normalised(entry, weights.state)
    load_strictly(network, _adapted(network, state), entry)
    return build(entry, network, weights.sha256, weights.path.parent)


def _is_folder(entry: Entry, files: Files) -> bool:
    """Whether the weights may have any of the forms that a model folder or repo has."""
    folder = folder_of(files)
    return bool(entry.hub_id) if folder is None else (folder / "config.json").is_file()


def _adapted(network: nn.Module, state: State) -> State:
    """Return the state in the layout of this version of timm: older layouts go through timm's own filter of the architecture."""
    if all(name.startswith(WRAPPER) for name in state):
        state = {name.removeprefix(WRAPPER): tensor for name, tensor in state.items()}
    if _shapes(state) == _shapes(network.state_dict()):
        return state
    module = sys.modules[type(network).__module__]
    adapt = next((getattr(module, name) for name in FILTERS if hasattr(module, name)), None)
    if adapt is None:
        return state
    try:
        adapted: State = adapt(dict(state), network)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return state  # not a layout that the filter knows: the strict load says what is wrong
    return adapted


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def describe(name: str) -> Facts:
    """Return the columns of a model of timm's registry, `ARCHITECTURE` or `ARCHITECTURE.TAG`.

    Raises UsageError for an unknown name, LoadError for weights that are no classifier or not in PyTorch's format.
    """
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise unknown("timm model", name, timm.list_models())
    config = timm.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model_pretrained(name) else None
    if config is None:
        raise unknown("timm model", name, timm.list_pretrained(f"{architecture}*"))
    label = f"timm:{config.architecture}.{config.tag}" if config.tag else f"timm:{config.architecture}"
    if not config.num_classes:
        raise LoadError(f"{label}: these weights give features, not classes")
    facts = timm_preprocessing(config.to_dict(), test=True)
    return facts | _address(label, config) | {
        "source": "timm",
        "name": label.removeprefix("timm:"),
        "loader": "timm",
        "architecture": label,
        "num_classes": config.num_classes,
        "dataset": "ImageNet-1k" if re.search(r"(^|_)in1k$", config.tag or "") else None,
        "paper_url": _paper(config.paper_ids),
    }  # fmt: skip


def _paper(ids: Any) -> str | None:
    return f"https://arxiv.org/abs/{ids.removeprefix('arXiv:')}" if isinstance(ids, str) and ids.startswith("arXiv:") else None


def _address(label: str, config: Any) -> Facts:
    """Where the weights are: the Hub, else an address whose file name may carry the first digits of its sha256."""
    if config.hf_hub_id:
        return {"hub_id": config.hf_hub_id, "weights_file": config.hf_hub_filename}
    if config.custom_load or not config.url:
        raise LoadError(f"{label}: its weights are not published in PyTorch's format")
    digits = re.search(r"-([0-9a-f]{8,})\.", config.url)
    hashed = {"hash_algorithm": "sha256", "weights_hash": digits[1], "integrity": "prefix"} if digits else {}
    return {"weights_url": config.url, **hashed}
