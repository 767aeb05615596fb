"""List the suites: names that stand for several attacks.

A suite is named `family:suite`. Without a family, `standard` and `full` are those of membership, and `all` is every family's standard.

examples:
  securitynet suites
  securitynet evaluate builtin/digits-overfit --attacks membership:full
"""

from __future__ import annotations

import argparse
import sys

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

HELP = "list the suites of attacks"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the attacks of each suite, or a JSON object of lists."""
    from securitynet.attacks.described import suites
    from securitynet.cli._plain import described, width

    found = suites()
    if args.json:
        print_json(found)
        return DONE
    lines = [(suite, ", ".join(name.partition("/")[2] for name in members)) for suite, members in found.items()]
    sys.stdout.write(described(lines, width()))
    return DONE
