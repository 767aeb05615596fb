"""Weights files become tensors, never code: safetensors, or PyTorch checkpoints read with `weights_only=True`."""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from securitynet.entry import Entry
from securitynet.errors import LoadError

log = logging.getLogger(__name__)
USUAL_KEYS = ("state_dict", "model", "net")
MOST_GROWTH = 8  # torch.save does not compress: a checkpoint that unpacks to much more was made to
DAMAGE = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
State = Mapping[str, torch.Tensor]


def read(path: Path) -> Any:
    """Return what a weights file holds: a dict of tensors, or whatever tensors and plain values a checkpoint is made of.

    Raises LoadError where it holds code, is damaged, or is no weights file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise LoadError(f"{path}: cannot be read ({error.strerror})") from error
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _read_safetensors(path)
    if start.startswith(b"PK"):
        _check_growth(path)
    elif not start.startswith(b"\x80"):
        raise LoadError(f"{path}: {_kind(start)}, neither safetensors nor a PyTorch checkpoint; fetch it again")
    return _read_checkpoint(path)


def _kind(start: bytes) -> str:
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS in place of the file"
    return "a web page" if start.lstrip().startswith(b"<") else f"a file that begins with {start[:8]!r}"


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, *DAMAGE) as error:
        raise LoadError(f"{path}: damaged safetensors file ({_line(error)}); fetch it again") from error


def _check_growth(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise LoadError(f"{path}: damaged or truncated checkpoint ({_line(error)}); fetch it again") from error
    if unpacked > MOST_GROWTH * path.stat().st_size:
        raise LoadError(f"{path}: unpacks to {unpacked:,} bytes, which no checkpoint does; it is refused")


def _read_checkpoint(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *DAMAGE) as error:
        wanted = _wanted(error)
        if wanted:
            raise LoadError(f"{path}: holds code, not only tensors: {wanted}; it is refused, ask the publisher for safetensors") from error
        raise LoadError(f"{path}: damaged or truncated checkpoint ({_line(error)}); fetch it again") from error


def _wanted(error: Exception) -> str | None:
    """Return the function or class that a checkpoint wants to import or call, in the words of torch's message; None where it is damage."""
    text = str(error)
    named = re.search(r"GLOBAL ([\w.]+)", text) or re.search(r"(?:call reduce|build|create)[^<]*<\w+ '?([\w.]+)", text)
    if named:
        return named[1]
    if "TorchScript" in text:
        return "a TorchScript program"
    blocked = re.search(r"Unsupported (?:class|type|function|global) (\S+)|forbidden|blocklist", text, re.IGNORECASE)
    return (blocked[1] or "a blocked import") if blocked else None


def _line(error: Exception) -> str:
    """The last sentence of a long message says what is wrong; torch's first ones are advice."""
    words = " ".join(str(error).split())
    return (words.rpartition("WeightsUnpickler error: ")[2] or type(error).__name__)[:160]


def state_dict(checkpoint: Any, entry: Entry, path: Path, *, guess: bool = False) -> OrderedDict[str, torch.Tensor]:
    """Return the state dict of a checkpoint, its prefixes dropped as the entry says.

    Where the entry says nothing and `guess` is set, the usual keys and the prefix `module.` are tried, and the log says
    which one was taken. Raises LoadError that names the keys at hand.
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
    result = OrderedDict(state)
    if metadata:
        result._metadata = metadata  # type: ignore[attr-defined]
    return result


def _picked(checkpoint: Any, entry: Entry, path: Path, guess: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    state, key = checkpoint, entry.state_key
    if key is None and guess and isinstance(checkpoint, Mapping) and not _is_state(checkpoint):
        key = next((usual for usual in USUAL_KEYS if _is_state(checkpoint.get(usual))), None)
        if key:
            log.info("%s: the state dict was taken from key %r", path.name, key)
    if key is not None:
        state = checkpoint.get(key) if isinstance(checkpoint, Mapping) else None
    if not _is_state(state):
        where = f"no state dict under {key!r}" if key else "no state dict at its top"
        raise LoadError(f"{path}: has {where}; it holds {_contents(checkpoint)}; name the key in state_key")
    return dict(state), dict(getattr(state, "_metadata", None) or {})


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())
    )


def _contents(checkpoint: Any) -> str:
    if not isinstance(checkpoint, Mapping):
        return f"a {type(checkpoint).__name__}"
    others = [str(name) for name, value in checkpoint.items() if not isinstance(value, torch.Tensor)]
    return _some(others or list(map(str, checkpoint))) or "nothing"


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_strictly(network: nn.Module, state: State, entry: Entry) -> None:
    """Put the state into the network: every key and every shape must fit. Raises LoadError with the likely cause."""
    whole = OrderedDict(state)
    whole._metadata = getattr(state, "_metadata", None) or _metadata(network)  # type: ignore[attr-defined]
    try:
        network.load_state_dict(whole)
    except (RuntimeError, ValueError) as error:
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


def install(network: nn.Module, path: Path, entry: Entry, *, guess: bool = False) -> None:
    """Read the weights file and put it into the network, strictly. Raises LoadError."""
    load_strictly(network, state_dict(read(path), entry, path, guess=guess), entry)
