"""List the models of the catalog, filtered by glob patterns (case does not matter).

examples:
  securitynet list 'builtin/*'
  securitynet list --dataset CIFAR-10 --family resnet
  securitynet list --source 'medmnist' --json
  securitynet list --metrics
"""

from __future__ import annotations

import argparse

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

HELP = "list models of the catalog"
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

    ids = catalog.list_models(args.pattern, dataset=args.dataset, family=args.family, source=args.source, purpose=args.purpose)
    wanted = set(ids)
    entries = [entry for entry in catalog.entries() if entry.id in wanted]
    if args.json:
        print_json([entry.to_record() for entry in entries])
        return DONE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("params", "claimed_accuracy") else "left", overflow="fold")
    for entry in entries:
        table.add_row(*[Text(_shown(getattr(entry, column))) for column in COLUMNS])
    console = Console()
    console.print(table)
    console.print(f"{len(entries)} models", style="dim")
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
    return f"{value:,}" if isinstance(value, int) else str(value)
