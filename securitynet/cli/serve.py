"""Serve a model's outputs to an evaluation in another environment or process, over HTTP on this machine.

Its images are floats in [0,1], its outputs logits; --gradients serves the gradient by the pixels as well. The other side names
the address in a file: `securitynet = "http://127.0.0.1:8100"` in endpoint.toml. A library with an environment of its own
needs no securitynet there: see docs/other-environments.md.

examples:
  securitynet serve builtin/digits-regular --port 8100
  securitynet serve resnet32.th --entry record.json --gradients
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_record, record_of

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.serve import Served
    from securitynet.target import Target

HELP = "serve a model's outputs over HTTP on this machine"
COLUMNS = ("dataset", "resize", "crop", "interpolation", "grey_to_rgb", "processor", "mean", "std", "claimed_accuracy", "claimed_split")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="id of the catalog, local file or folder, or hf-hub:ORG/NAME")
    parser.add_argument("--port", type=int, default=8100, metavar="N", help="default 8100; 0: a free one")
    parser.add_argument("--gradients", action="store_true", help="serve gradients by the pixels, too")
    parser.add_argument("--cache-dir", metavar="DIR", help="where downloads are kept (default $SECURITYNET_CACHE)")
    parser.add_argument("--offline", action="store_true", help="use only what is already here")
    add_record(parser)


def run(args: argparse.Namespace) -> int:
    """Say the address and serve until interrupted."""
    from securitynet.cache import cache_root
    from securitynet.inputs import Options, target_of
    from securitynet.serve import server

    options = Options(cache_root(args.cache_dir), offline=args.offline)
    target = target_of(args.model, record_of(args), options)
    with server(served_of(target, args.gradients), args.port) as running:
        sys.stdout.write(f"http://127.0.0.1:{running.server_address[1]} serves {target.entry.id}\n")
        sys.stdout.flush()
        running.serve_forever()
    return DONE


def served_of(target: Target, gradients: bool) -> Served:
    """Return what is served of a target: under its id and what identifies it."""
    from securitynet.serve import Served, from_torch

    outputs, slopes = from_torch(target.module)
    entry: Entry = target.entry
    columns = {name: value for name in COLUMNS if (value := getattr(entry, name)) is not None}
    name, version = re.sub(r"[^\w.:/+-]", "-", entry.id), target.fingerprint[:16]
    return Served(name, version, entry.input_size or (), target.num_classes, outputs, slopes if gradients else None, columns)
