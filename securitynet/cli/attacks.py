"""List the attacks: what each needs of a model, what it costs, and one line on it; with a name, all its settings.

Cost: queries and seconds beside the one pass that all attacks share, measured on a small built-in model; "-" is not measured.

examples:
  securitynet attacks
  securitynet attacks 'membership/*' --json
  securitynet attacks membership/lira
"""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

if TYPE_CHECKING:
    from securitynet.attacks.described import AttackInfo

HELP = "list the attacks, what they need and what they cost"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="glob on the name; a whole name shows the settings of that attack")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table, one attack with its settings, or everything as JSON."""
    from securitynet.attacks.described import attack, attacks
    from securitynet.cli._plain import described, width

    pattern = args.pattern or "*"
    found = [one for one in attacks() if fnmatchcase(one.name, pattern)] or [attack(pattern)]
    if args.json:
        print_json([one.to_record() for one in found])
    elif len(found) == 1 and found[0].name == pattern:
        sys.stdout.write(_settings(found[0]))
    else:
        sys.stdout.write(described([(one.name, f"{one.sentence}. {_facts(one)}") for one in found], width()))
        sys.stdout.write(f"{len(found)} attacks; `securitynet attacks NAME` shows the settings of one\n")
    return DONE


def _facts(one: AttackInfo) -> str:
    cost = "-" if one.queries is None or one.seconds is None else f"{one.queries:,} queries, {one.seconds:.1f} s"
    return f"[needs {', '.join(one.needs)}; cost {cost}; suites {', '.join(one.suites) or 'none: run it by name'}]"


def _settings(one: AttackInfo) -> str:
    from securitynet.cli._plain import table, width

    lines = [(setting.name, setting.type, setting.default or "(required)") for setting in one.settings]
    settings = table(("setting", "type", "default"), lines, room=width()) if lines else "It has no settings.\n"
    return f"{one.name}\n{one.sentence}.\n{_facts(one)}\n\n{one.text}\n\n{settings}"
