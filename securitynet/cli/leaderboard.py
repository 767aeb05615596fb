"""Build the leaderboard: a static page that ranks models by dataset and attack, with intervals, filters, and all rows as CSV and Parquet.

The folder can be pushed as a static Space as it is.

example:
  securitynet leaderboard results.jsonl --output leaderboard/
  securitynet push board leaderboard/ --to ORG/leaderboard
"""

from __future__ import annotations

import argparse
from pathlib import Path

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

HELP = "build a static page that ranks models by dataset and attack"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "results", nargs="*", type=Path, default=[], metavar="FILE",
        help="rows (.jsonl, .parquet) or folders of `evaluate --output` or of a sweep (default: those published with the catalog)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("leaderboard"), metavar="DIR", help="folder of the page (default: leaderboard)")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page, and say where."""
    from securitynet.report.measure_table import published_rows, rows_at
    from securitynet.report.page.leaderboard import write_leaderboard

    paths = write_leaderboard(rows_at(args.results) if args.results else published_rows(), args.output)
    if args.json:
        print_json([str(path) for path in paths])
        return DONE
    from rich.console import Console
    from rich.text import Text

    for path in paths:
        Console().print(Text(f"saved {path}"), soft_wrap=True)
    return DONE
