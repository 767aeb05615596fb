"""Make the environment of a library that does not fit beside this package: its models are then built and evaluated there.

The environment lies in the cache directory, where `evaluate`, `verify` and `sweep` find it. Without a library, those that have one are
listed. An environment of your own needs nothing of this: give its Python to evaluate as --python.

examples:
  securitynet environment
  securitynet environment mmpretrain
  securitynet evaluate torchxrayvision/nih --python xrv/bin/python --task single-label --data xrays.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from securitynet.cli import DONE

HELP = "make the environment of a library that does not fit beside this package"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("library", metavar="LIBRARY", nargs="?", help="mmpretrain, robustbench, torchxrayvision, facenet_pytorch")
    parser.add_argument("--base", metavar="PATH", type=Path, help="Python that it is made with (default: this one)")
    parser.add_argument("--cache-dir", metavar="DIR", help="where it lies (default $SECURITYNET_CACHE)")


def run(args: argparse.Namespace) -> int:
    """Make it and say where its Python is, or list all."""
    from securitynet.cache import cache_root
    from securitynet.environments import REQUIREMENTS, create, place_of

    root = cache_root(args.cache_dir)
    if args.library is not None:
        sys.stdout.write(f"{create(args.library, root, args.base)}\n")
        return DONE
    for library in sorted(REQUIREMENTS):
        sys.stdout.write(f"{library:16} {'made' if place_of(library, root).exists() else '-':5} {' '.join(REQUIREMENTS[library])}\n")
    return DONE
