"""Networks of libraries that have an environment of their own: a process there serves outputs and gradients, which are evaluated here."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from torch import nn

from securitynet.cache import ArrayCache, digest, size_limit
from securitynet.download import Files, Weights, fetch
from securitynet.errors import LoadError

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.target import Target

DECIDES = ("input_size", "scale", "channel_order", "mean", "std")  # columns by which the process makes the network's input
NEEDED = ("input_size", "num_classes", "mean", "std")
MOST_BYTES = 2**26  # of the pixels of one request
MOST_IMAGES = 64


def load(entry: Entry, files: Files) -> Target:
    """Return the Target of an entry whose library is its source, in the environment that `files` names, or that was made for it.

    The process ends with the Target. Raises UsageError for a source that has no environment, LoadError with the reason where the
    environment or a package is missing or the weights do not fit, DownloadError.
    """
    from securitynet.endpoint import Limits
    from securitynet.endpoint.protocol import endpoint_of
    from securitynet.environments import interpreter
    from securitynet.environments.process import OwnHttp, Process
    from securitynet.target import Answers

    missing = [name for name in NEEDED if getattr(entry, name) is None]
    if missing:
        raise LoadError(f"{entry.id}: the record lacks {', '.join(missing)}, without which its images cannot be prepared")
    python = interpreter(entry.source, files.cache, files.python)
    weights = _weights(entry, files)
    settings = {name: getattr(entry, name) for name in DECIDES} | {"classes": entry.num_classes}
    sha256 = weights[0].sha256 if len(weights) == 1 else digest("shards", [[number, one.sha256] for number, one in enumerate(weights)])
    request = {
        "name": entry.name,
        "weights": [str(one.path.resolve()) for one in weights],
        "settings": settings,
        "label": re.sub(r"[^\w.:/+-]", "-", entry.id),
        "version": digest(sha256, settings)[:16],
    }
    process = Process(entry.id, python, entry.source, request)
    batch = max(1, min(MOST_IMAGES, MOST_BYTES // (4 * prod(entry.input_size or ()))))
    endpoint = endpoint_of(OwnHttp(f"{process.url}/outputs", process=process), process.url, Limits(batch=batch))
    served = endpoint.target(ArrayCache(files.cache / "outputs", size_limit()))
    entry = replace(entry, loader="environment", output=entry.output or "logits")
    plain = entry.output == "logits" and entry.class_map in (None, "identity") and entry.num_classes != 1
    module = served.module if plain else nn.Sequential(served.module, Answers(entry)).eval()
    return replace(served, entry=entry, module=module, weights_sha256=sha256, folder=weights[0].path.parent)


def _weights(entry: Entry, files: Files) -> list[Weights]:
    """The files of an entry: one, or one for each of its addresses; in a folder of the user's they are STEM_m0.pt, STEM_m1.pt, ..."""
    if not entry.more_weights:
        return [fetch(entry, files)]
    name = PurePosixPath(entry.weights_file or "weights.pt")
    addresses = (entry.weights_url, *entry.more_weights)
    blank = replace(entry, more_weights=None, weights_size=None, weights_hash=None)
    members = [f"{name.stem}_m{number}{name.suffix}" for number in range(len(addresses))]
    return [fetch(replace(blank, weights_url=url, weights_file=member), files) for url, member in zip(addresses, members, strict=True)]
