"""List the image datasets of the catalog: classes, size, how members are known, and how many models were trained on each.

examples:
  securitynet datasets
  securitynet datasets 'cifar*' --json
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json
from securitynet.errors import shown

if TYPE_CHECKING:
    from securitynet.data.dataset import ImageDataset

HELP = "list the image datasets of the catalog"
NUMBERS = ("models", "classes", "train", "test")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="glob on key, aliases and title (case does not matter)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table, or records as JSON. Raises UsageError where a pattern fits none."""
    from securitynet import catalog
    from securitynet.cli._plain import table, width
    from securitynet.data.dataset import records
    from securitynet.errors import unknown

    wish = (args.pattern or "*").casefold()
    found = [
        one for one in records() if any(fnmatchcase(name.casefold(), wish) for name in (one.key, one.title or "", *(one.aliases or ())))
    ]
    if not found:
        raise unknown("image dataset", args.pattern, [one.key for one in records()])
    models = Counter(row["dataset"] for row in catalog.table(("dataset",)))
    if args.json:
        print_json([{**asdict(one), "models": models[one.key]} for one in found])
        return DONE
    lines = [
        (
            one.key, f"{models[one.key]:,}", _count(one.num_classes), "x".join(map(str, one.image_shape or ())) or "-",
            _count(one.train_size), _count(one.test_size), one.membership or "-", shown(one.hub_id or "-"), shown(one.licence or "-", 40),
        )
        for one in found
    ]  # fmt: skip
    header = ("key", "models", "classes", "shape", "train", "test", "members", "Hub", "licence")
    sys.stdout.write(table(header, lines, NUMBERS, width()))
    sys.stdout.write(f"{len(found)} datasets\n")
    return DONE


def _names(one: ImageDataset) -> tuple[str, ...]:
    return (one.key, one.title or "", *(one.aliases or ()))


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
