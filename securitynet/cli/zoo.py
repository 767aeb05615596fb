"""The built-in models of handwritten digits, each with a planted and known property: train them again.

`zoo build` trains each model from its recipe, checks that what is planted is there, and writes model folders and records in
the layout of the catalog. On one machine the bytes are always the same.

examples:
  securitynet zoo build
  securitynet zoo build digits-regular digits-overfit --output /tmp/zoo
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

HELP = "build the built-in models again"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their options."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="train the models and write them", description="Train the models and write them.")
    build.add_argument("names", nargs="*", metavar="NAME", help="models to build, with or without builtin/ (default: all)")
    build.add_argument(
        "--output", default="zoo", type=Path, metavar="DIR", help="folder for builtin/NAME/ and models/builtin.jsonl (default: zoo)"
    )
    add_json(build)


def run(args: argparse.Namespace) -> int:
    """Build, and print one line per model as it is done."""
    from securitynet.zoo import build

    built = []
    for entry in build(args.output, args.names or None, progress=sys.stderr.isatty()):
        built.append(entry.to_record())
        if not args.json:
            sys.stdout.write(f"{entry.id:32} claimed accuracy {entry.claimed_accuracy:.4f}  sha256 {(entry.weights_hash or '')[:16]}\n")
            sys.stdout.flush()
    if args.json:
        print_json(built)
    return DONE
