"""Models of pytorchcv. Its own downloader unpickles anything, so only its architectures are used; the rest is in the entry."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from securitynet.download import Files, fetch
from securitynet.loaders._architectures import build_network
from securitynet.loaders._state import load_strictly, state_dict
from securitynet.loaders._weights import read

if TYPE_CHECKING:
    from torch import nn

    from securitynet.entry import Entry
    from securitynet.loaders._state import State
    from securitynet.target import Target


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of an entry `pytorchcv:NAME`. Raises UsageError, DownloadError, LoadError."""
    from securitynet.target import build

    network = build_network(entry)
    weights = fetch(entry, files)
    state = state_dict(read(weights.path), entry, weights.path, guess=files.local is not None)
    load_strictly(network, _without_heads(network, state, entry), entry)
    return build(entry, network, weights.sha256, weights.path.parent)


def _without_heads(network: nn.Module, state: State, entry: Entry) -> State:
    """Return the state without the parts that the entry's arguments switch off: keys of the default network, and no others."""
    if not entry.arguments:
        return state
    kept = network.state_dict()
    default = build_network(replace(entry, architecture_args=None)).state_dict()
    return OrderedDict((key, tensor) for key, tensor in state.items() if key in kept or key not in default)
