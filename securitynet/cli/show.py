"""Show everything that the catalog knows about one model: its record and the published measurements.

example:
  securitynet show pytorchcv/resnet20_cifar10
"""

from __future__ import annotations

import argparse

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

HELP = "show one model's record and published measurements"

PINS = {
    "pinned": "pinned: by a whole hash, or by a commit on the Hub",
    "prefix": "prefix: only the first digits of a hash are known, which is no pin",
    "none": "none: whatever lies at the address is taken",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("id", metavar="ID", help="id of the catalog, such as builtin/digits-regular")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the known columns, then the rows."""
    from securitynet import catalog

    entry = catalog.entry(args.id)
    rows = [row for row in catalog.results() if row["entry"] == entry.id]
    if args.json:
        print_json({"entry": entry.to_record(), "pin": entry.pin, "results": rows})
        return DONE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    record = Table(box=None, show_header=False)
    record.add_column(style="bold")
    record.add_column(overflow="fold")
    for key, value in entry.to_record().items():
        if value is not None and key != "paper_record":
            record.add_row(key, Text(", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    record.add_row("pin", PINS[entry.pin])
    console = Console()
    console.print(record)
    if rows:
        console.print(_published(rows))
    return DONE


def _published(rows: list[dict[str, object]]) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="published measurements", title_justify="left", box=None, header_style="bold")
    for column in ("origin", "dataset", "attack", "params", "metric", "value", "note"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for row in rows:
        value = "-" if row["value"] is None else f"{row['value']:.6g}"
        told = [Text(str(row[key] or "")) for key in ("origin", "dataset", "attack", "params", "metric")]
        table.add_row(*told, value, Text(str(row["reason"] or "")))
    return table
