"""List the models of the catalog, filtered by glob patterns (case does not matter).

examples:
  securitynet list 'builtin/*'
  securitynet list --dataset CIFAR-10 --family resnet
  securitynet list --source 'medmnist' --json
  securitynet list --metrics
"""

from __future__ import annotations

import argparse
import sys

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json
from securitynet.entry import pin
from securitynet.errors import shown

HELP = "list models of the catalog"
PIN = ("revision", "weights_url", "integrity")
COLUMNS = ("id", "dataset", "family", "params", "claimed_accuracy", "licence")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="glob on the id, such as 'pytorchcv/resnet*'")
    for name in ("dataset", "family", "source", "purpose"):
        parser.add_argument(f"--{name}", metavar="PATTERN", help=f"glob on the {name}")
    parser.add_argument("--metrics", action="store_true", help="list what the metrics of results mean; --json: as a JSON schema")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table, or records as JSON."""
    from securitynet import catalog

    if args.metrics:
        return _metrics(args.json)

    wishes = {name: getattr(args, name) for name in ("dataset", "family", "source", "purpose")}
    if args.json:
        wanted = set(catalog.list_models(args.pattern, **wishes))
        print_json([entry.to_record() for entry in catalog.entries() if entry.id in wanted])
        return DONE
    rows = catalog.table((*COLUMNS, *PIN), args.pattern, **wishes)
    lines = [(*COLUMNS, "pin"), *((*(_shown(row[name]) for name in COLUMNS), pin(row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [name in ("params", "claimed_accuracy") for name in lines[0]]
    form = "  ".join(f"{{:{'>' if at_right else '<'}{width}}}" for width, at_right in zip(widths, right, strict=True))
    sys.stdout.write("".join(form.format(*line).rstrip() + "\n" for line in lines))  # a table of rich takes a second for 1,000 lines
    sys.stdout.write(f"{len(rows)} models\n")
    return DONE


def _metrics(as_json: bool) -> int:
    from securitynet.metrics.vocabulary import VOCABULARY, json_schema

    if as_json:
        print_json(json_schema())
        return DONE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for column in ("metric", "family", "role", "better", "what it is"):
        table.add_column(column, overflow="fold")
    for one in VOCABULARY.values():
        table.add_row(*map(Text, (one.name, one.family, one.role, one.better or "-", one.sentence)))
    Console().print(table)
    return DONE


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else shown(str(value))
