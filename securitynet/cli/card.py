"""Write the card of a model of the catalog, as the README.md of a model repo on the Hub; of all models with --all.

examples:
  securitynet card pytorchcv/resnet20_cifar10
  securitynet card --all ./cards
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

HELP = "print the Hub card of a model, or write those of all"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("id", nargs="?", metavar="ID", help="id of the catalog, such as builtin/digits-regular")
    what.add_argument("--all", type=Path, metavar="DIR", help="write DIR/<source>/<name>.md for every model")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print one card, or write all; a card that is up to date is not written again."""
    from securitynet import catalog
    from securitynet.cards.entry import entry_card

    if args.all is None:
        entry = catalog.entry(args.id)
        rows = [row for row in catalog.results() if row["entry"] == entry.id]
        card = entry_card(entry, rows)
        print_json({"entry": entry.id, "card": card}) if args.json else sys.stdout.write(card)
        return DONE
    published: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in catalog.results():
        published[row["entry"]].append(row)
    written = sum(_written(args.all, entry.id, entry_card(entry, published[entry.id])) for entry in catalog.entries())
    same = len(catalog.ids()) - written
    if args.json:
        print_json({"folder": str(args.all), "written": written, "up_to_date": same})
    else:
        sys.stdout.write(f"{written} cards written to {args.all}, {same} were up to date\n")
    return DONE


def _written(folder: Path, id: str, text: str) -> bool:
    from securitynet.maintenance.records import write_changed

    path = folder / f"{id}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_changed(path, text)
