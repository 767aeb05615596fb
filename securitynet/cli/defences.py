"""List the output defences that `--defence` takes, with their settings, and those of other packages.

examples:
  securitynet defences
  securitynet evaluate builtin/digits-overfit --defence top-k:3
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

if TYPE_CHECKING:
    from securitynet.defences import DefenceInfo

HELP = "list the defences"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print a line per defence, or a JSON array."""
    from securitynet.cli._plain import described, width
    from securitynet.defences import described_defences

    found = described_defences()
    if args.json:
        print_json([{"name": one.name, "settings": dict(one.settings), "sentence": one.sentence} for one in found])
        return DONE
    lines = [(":".join([one.name, *(name.upper() for name, _ in one.settings)]), _line(one)) for one in found]
    sys.stdout.write(described(lines, width()))
    return DONE


def _line(one: DefenceInfo) -> str:
    defaults = ", ".join(f"{name}={value}" for name, value in one.settings)
    return f"{one.sentence} [default {defaults}]" if defaults else one.sentence
