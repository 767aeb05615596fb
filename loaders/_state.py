"""From what a weights file holds to a network that holds it: pick the state dict, drop prefixes, load strictly."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from securitynet.entry import Entry
from securitynet.errors import LoadError
from securitynet.loaders._keys import in_order, renamed
from securitynet.loaders._weights import read

log = logging.getLogger(__name__)
USUAL_KEYS = ("state_dict", "model", "net", "model_state_dict", "ema", "model_ema", "state_dict_ema")
FREE_BYTES = 1 << 20  # a small tensor may be repeated along an axis
State = Mapping[str, torch.Tensor]


def install(network: nn.Module, path: Path, entry: Entry, *, guess: bool = False) -> None:
    """Read the weights file and put it into the network, strictly. Raises LoadError."""
    load_strictly(network, state_dict(read(path), entry, path, guess=guess), entry)


def state_dict(checkpoint: Any, entry: Entry, path: Path, *, guess: bool = False) -> OrderedDict[str, torch.Tensor]:
    """Return the state dict of a checkpoint, its prefixes dropped and its keys renamed as the entry says.

    Where the entry says nothing, or leaves a choice, and `guess` is set, the usual keys and the prefix `module.` are tried, and the log
    says which one was taken. Raises LoadError that names the keys that there are.
    """
    state, metadata = _picked(checkpoint, entry, path, guess)
    prefixes = entry.drop_prefixes
    if guess and prefixes is None and state and all(name.startswith("module.") for name in state):
        log.info("%s: every key starts with 'module.'; the prefix was dropped", path.name)
        prefixes = ("module.",)
    for prefix in prefixes or ():
        if any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            metadata = {name[len(prefix) :]: value for name, value in metadata.items() if f"{name}.".startswith(prefix)}
    if entry.keys is not None:
        return renamed(state, entry)
    result = OrderedDict(state)
    if metadata:
        result._metadata = metadata  # type: ignore[attr-defined]
    return result


def _picked(checkpoint: Any, entry: Entry, path: Path, guess: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    key = entry.state_key
    choices = ("",) if key is None else tuple(key.split("|"))
    state = next((found for one in choices if _is_state(found := _under(checkpoint, one))), None)
    if state is None and guess and "" in choices and isinstance(checkpoint, Mapping):
        usual = next((one for one in USUAL_KEYS if _is_state(checkpoint.get(one))), None)
        if usual:
            state = checkpoint[usual]
            log.info("%s: the state dict was taken from key %r", path.name, usual)
    if state is None:
        where = f"no state dict under {key!r}" if key else "no state dict at its top"
        raise LoadError(f"{path}: has {where}; it holds {_contents(checkpoint)}; name the key in state_key")
    for name, tensor in state.items():
        if reason := _unusable(tensor):
            raise LoadError(f"{path}: {name[:80]} {reason}; it is refused")
    metadata: Any = getattr(state, "_metadata", None)
    return dict(state), dict(metadata) if _is_metadata(metadata) else {}


def _is_metadata(value: Any) -> bool:
    """The layout versions that torch keeps: by module, a mapping."""
    return isinstance(value, Mapping) and all(isinstance(name, str) and isinstance(one, Mapping) for name, one in value.items())


def _unusable(tensor: torch.Tensor) -> str | None:
    """Say why a tensor is no plain weights: nothing is cast silently, and none takes more memory than it has in the file."""
    if tensor.is_complex():
        return "holds complex numbers; a classifier has real weights"
    if tensor.is_quantized:
        return "holds quantised weights; those in full precision work"
    if tensor.layout != torch.strided or tensor.is_nested or tensor.device.type != "cpu":
        return f"is no plain tensor ({tensor.layout}, {tensor.device.type})"
    stored, shaped = tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size()
    return f"has the shape {list(tensor.shape)} on {stored:,} bytes" if shaped > stored + FREE_BYTES else None


def _under(checkpoint: Any, key: str) -> Any:
    """What lies under a key; `/` leads further in, a number into a list. None where nothing does; all of it under no key."""
    if not key:
        return checkpoint
    if isinstance(checkpoint, Mapping) and key in checkpoint:
        return checkpoint[key]
    first, _, rest = key.partition("/")
    if isinstance(checkpoint, list | tuple):
        inside = checkpoint[int(first)] if first.isdecimal() and int(first) < len(checkpoint) else None
    else:
        inside = checkpoint.get(first) if isinstance(checkpoint, Mapping) else None
    return _under(inside, rest) if rest else inside


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())
    )


def _contents(checkpoint: Any) -> str:
    if not isinstance(checkpoint, Mapping):
        return f"a {type(checkpoint).__name__}"
    others = [name for name, value in checkpoint.items() if not isinstance(value, torch.Tensor)] or list(checkpoint)
    return _some([name if isinstance(name, str) else f"a {type(name).__name__}" for name in others]) or "nothing"


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(name[:80] for name in names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_strictly(network: nn.Module, state: State, entry: Entry) -> None:
    """Put the state into the network: every key and every shape must fit. Raises LoadError with the likely cause."""
    state = in_order(state, network.state_dict(), entry)
    whole = OrderedDict(state)
    whole._metadata = getattr(state, "_metadata", None) or _metadata(network)  # type: ignore[attr-defined]
    try:
        network.load_state_dict(whole)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise LoadError(
            f"{entry.id}: the weights do not fit {entry.architecture or 'the network'}: {_misfit(network, state, entry)}"
        ) from error


def _metadata(network: nn.Module) -> dict[str, Any]:
    """Layout versions for a file that states none: today's, but batch norms of before 2018 come without their counters."""
    versions = network.state_dict()._metadata  # type: ignore[attr-defined]
    return {name: version for name, version in versions.items() if not isinstance(network.get_submodule(name), _NormBase)}


def _misfit(network: nn.Module, state: State, entry: Entry) -> str:
    expected = network.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in expected]
    other = [name for name in expected if name in state and expected[name].shape != state[name].shape]
    for name in reversed(other):
        ours, theirs = tuple(expected[name].shape), tuple(state[name].shape)
        if ours and theirs and ours[1:] == theirs[1:] and ours[0] == entry.num_classes and len(other) <= 4:
            return f"the weights have {theirs[0]} classes, the entry says {entry.num_classes}"
    shapes = [f"{name} is {list(state[name].shape)}, expected {list(expected[name].shape)}" for name in other]
    lists = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    said = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in lists.items() if names)
    return said + _cause(missing, unexpected)


def _cause(missing: list[str], unexpected: list[str]) -> str:
    prefix = next((name[: -len(missing[0])] for name in unexpected if missing and name.endswith(missing[0])), "")
    if prefix:
        return f"; likely cause: the keys carry the prefix {prefix!r} (drop_prefixes)"
    return "; likely cause: another architecture, or other arguments of it"
