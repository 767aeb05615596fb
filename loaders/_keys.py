"""Keys of a state dict, renamed as the entry's column `keys` says, and a normalisation that lies among the weights."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from securitynet.errors import LoadError, UsageError

if TYPE_CHECKING:
    import torch

    from securitynet.entry import Entry

State = Mapping[str, "torch.Tensor"]
Rule = tuple[re.Pattern[str], str | None]
IN_ORDER, COUNTER = "in order", "num_batches_tracked"
NORMALISATION = {"input.mean": "mean", "input.std": "std"}  # keys that are no part of the network: columns of the entry


def rules(entry: Entry) -> list[Rule]:
    """Return the entry's renames, compiled. Raises UsageError for what is no list of [pattern, replacement], at most "in order" last."""
    try:
        listed = json.loads(entry.keys or "[]")
        pairs = [(re.compile(pattern), replacement) for pattern, replacement in (listed[:-1] if listed[-1:] == [IN_ORDER] else listed)]
    except (ValueError, TypeError, re.error) as error:
        raise UsageError(f"{entry.id}: keys must be a JSON list of [pattern, replacement] ({error})") from error
    if not all(replacement is None or isinstance(replacement, str) for _, replacement in pairs):
        raise UsageError(f"{entry.id}: a replacement in keys is a text, or null where the key is dropped")
    return pairs


def renamed(state: State, entry: Entry) -> OrderedDict[str, torch.Tensor]:
    """Return the state under the names that the entry's rules give, each applied to what the one before made of a key.

    Raises UsageError for a bad rule, LoadError where two keys get one name.
    """
    compiled, result = rules(entry), OrderedDict[str, "torch.Tensor"]()
    for key, tensor in state.items():
        name = _name(entry, key, compiled)
        if name is None:
            continue
        if name in result:
            raise LoadError(f"{entry.id}: keys gives two tensors of the weights the name {name[:80]}, {key[:80]} is the second")
        result[name] = tensor
    return result


def _name(entry: Entry, key: str, compiled: list[Rule]) -> str | None:
    for pattern, replacement in compiled:
        if replacement is None and pattern.search(key):
            return None
        try:
            key = key if replacement is None else pattern.sub(replacement, key)
        except (re.error, IndexError) as error:
            raise UsageError(f"{entry.id}: the replacement {replacement!r} in keys is none for {pattern.pattern!r} ({error})") from error
    return key


def in_order(state: State, expected: State, entry: Entry) -> State:
    """Return the state under the names of `expected`, tensor by tensor, where the entry's keys end with "in order"; else as it is.

    Both must have the same shapes in the same order; counters of batch norms are left aside. Raises LoadError with the first that differ.
    """
    if entry.keys is None or json.loads(entry.keys)[-1:] != [IN_ORDER]:
        return state
    theirs = {key: tensor for key, tensor in state.items() if not key.endswith(COUNTER)}
    ours = {key: tensor for key, tensor in expected.items() if not key.endswith(COUNTER)}
    for (key, tensor), (name, other) in zip(theirs.items(), ours.items(), strict=False):
        if tensor.shape != other.shape:
            shapes = f"{key[:80]} is {list(tensor.shape)} where {name} is {list(other.shape)}"
            raise LoadError(f"{entry.id}: not in the order of {entry.architecture}: {shapes}")
    if len(theirs) != len(ours):
        raise LoadError(
            f"{entry.id}: {len(theirs)} tensors among the weights, {len(ours)} in {entry.architecture}: they are not in one order"
        )
    return dict(zip(ours, theirs.values(), strict=True))


def normalised(entry: Entry, state: State) -> tuple[Entry, State]:
    """Return the entry with the mean and standard deviation that the weights hold as `input.mean` and `input.std`, and the rest of them.

    Publishers' classes keep them as buffers, which a checkpoint overwrites. Raises LoadError where they are not one number a channel.
    """
    found = {column: state[key] for key, column in NORMALISATION.items() if key in state}
    if not found:
        return entry, state
    channels = entry.input_size[0] if entry.input_size else 3
    for column, tensor in found.items():
        if tensor.numel() not in (1, channels) or not bool(tensor.isfinite().all()) or (column == "std" and bool((tensor == 0).any())):
            raise LoadError(f"{entry.id}: the {column} among the weights has the shape {list(tensor.shape)}, or is not finite, or zero")
    values = {column: tuple(tensor.flatten().tolist()) for column, tensor in found.items()}
    rest = OrderedDict((key, tensor) for key, tensor in state.items() if key not in NORMALISATION)
    return replace(entry, mean=values.get("mean", entry.mean), std=values.get("std", entry.std)), rest
