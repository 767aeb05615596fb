"""List the models of the catalog, filtered by glob patterns (case does not matter).

examples:
  securitynet list 'builtin/*'
  securitynet list --dataset CIFAR-10 --family resnet
  securitynet list --source 'medmnist' --json
  securitynet list --dataset CIFAR-10 --sort claimed_accuracy --limit 10
  securitynet list 'timm/resnet*' -q | xargs -n 1 securitynet show
  securitynet list --metrics
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json
from securitynet.cli._plain import table, width
from securitynet.entry import pin
from securitynet.errors import UsageError, shown

HELP = "list models of the catalog"
PIN = ("revision", "weights_url", "integrity")
COLUMNS = ("id", "dataset", "family", "params", "claimed_accuracy", "licence")
NUMBERS = ("params", "claimed_accuracy")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="glob on the id, such as 'pytorchcv/resnet*'")
    for name in ("dataset", "family", "source", "purpose"):
        parser.add_argument(f"--{name}", metavar="PATTERN", help=f"glob on the {name}")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only, one a line")
    parser.add_argument("--sort", choices=COLUMNS, metavar="COLUMN", help=f"sort by {', '.join(COLUMNS)}; numbers from the largest")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N models")
    parser.add_argument("--metrics", action="store_true", help="list what the metrics of results mean; --json: as a JSON schema")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print a table, or records as JSON."""
    from securitynet import catalog

    if args.metrics:
        return _metrics(args.json)

    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit must be a positive number, not {args.limit}")
    wishes = {name: getattr(args, name) for name in ("dataset", "family", "source", "purpose")}
    rows = catalog.table((*COLUMNS, *PIN), args.pattern, **wishes)
    found = _sorted(rows, args.sort)[: args.limit]
    if args.json:
        places = {row["id"]: place for place, row in enumerate(found)}
        records = (entry for entry in catalog.entries() if entry.id in places)
        print_json([entry.to_record() for entry in sorted(records, key=lambda entry: places[entry.id])])
    elif args.quiet:
        sys.stdout.write("".join(f"{row['id']}\n" for row in found))
    else:
        lines = [(*(_shown(row[name]) for name in COLUMNS), pin(row)) for row in found]
        sys.stdout.write(table((*COLUMNS, "pin"), lines, NUMBERS, width()))  # a table of rich takes a second for 1,000 lines
        sys.stdout.write(f"{len(found)} models{'' if len(found) == len(rows) else f' of {len(rows)}'}\n")
    return DONE


def _sorted(rows: list[dict[str, Any]], column: str | None) -> list[dict[str, Any]]:
    """Rows by a column: numbers from the largest, texts from A; what is not known comes last."""
    if column is None:
        return rows
    known = [row for row in rows if row[column] is not None]
    return [*sorted(known, key=lambda row: row[column], reverse=column in NUMBERS), *(row for row in rows if row[column] is None)]


def _metrics(as_json: bool) -> int:
    from securitynet.metrics.vocabulary import VOCABULARY, json_schema

    if as_json:
        print_json(json_schema())
        return DONE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    metrics = Table(box=None, header_style="bold")
    for column in ("metric", "family", "role", "better", "what it is"):
        metrics.add_column(column, overflow="fold")
    for one in VOCABULARY.values():
        metrics.add_row(*map(Text, (one.name, one.family, one.role, one.better or "-", one.sentence)))
    Console().print(metrics)
    return DONE


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else shown(str(value))
