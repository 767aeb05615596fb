"""Any checkpoint whose entry says what it is: architecture, arguments, key of the state dict, prefixes to drop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securitynet.download import Files
from securitynet.loaders._architectures import build_network
from securitynet.loaders._keys import normalised
from securitynet.loaders._parts import one_file, several
from securitynet.loaders._state import load_strictly

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.target import Target


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of an entry `timm:NAME`, `torchvision:NAME`, `pytorchcv:NAME` or `nets:NAME`.

    The network is built with fresh weights, and every key of the checkpoint must find its place. Raises UsageError,
    DownloadError, LoadError.
    """
    from securitynet.target import build

    network = build_network(entry)
    weights = several(entry, files) if entry.more_weights else one_file(entry, files)
    entry, state = normalised(entry, weights.state)
    load_strictly(network, state, entry)
    return build(entry, network, weights.sha256, weights.path.parent)
