"""Show what results mean: one HTML page that works without a network, and the figures of the study of 2024.

RESULTS are folders of `evaluate --output`, of sweeps, and files of rows (.jsonl, .parquet). Without any, the report is of the measurements
published with the catalog.

examples:
  securitynet report results/digits-overfit --output report.html
  securitynet report results/* --output report.html --figures figures/
  securitynet report --figures figures/
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

if TYPE_CHECKING:
    from securitynet.report.measure_table import MeasureTable

HELP = "show what results mean, as a page and as figures"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "results", nargs="*", type=Path, metavar="RESULTS", help="folders of `evaluate --output` or of a sweep, files of rows"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE.html", help="the page (default: report.html, with --figures none; needs securitynet[plots])"
    )
    parser.add_argument("--figures", type=Path, metavar="DIR", help="draw the figures there (needs securitynet[plots])")
    parser.add_argument("--formats", nargs="+", choices=("png", "svg", "pdf"), default=["png", "svg"], help="of the figures (png svg)")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="write every number of RESULTS there")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Write what is asked for, and say where."""
    from securitynet.report.measure_table import measure_table, published_rows, rows_at

    rows = rows_at(args.results) if args.results else published_rows()
    written = []
    if args.figures:
        written += _drawn(measure_table(rows), args)
    if args.csv:
        from securitynet.report.page.report_page import write_csv

        written.append(write_csv(rows, args.csv))
    if args.output or not (args.figures or args.csv):
        from securitynet.report.page.report_page import write_page

        written.append(write_page(args.results, rows, args.output or Path("report.html")))
    if args.json:
        print_json([str(path) for path in written])
        return DONE
    from rich.console import Console
    from rich.text import Text

    for path in written:
        Console().print(Text(f"saved {path}"), soft_wrap=True)
    return DONE


def _drawn(table: MeasureTable, args: argparse.Namespace) -> list[Path]:
    """Draw the figures of the study, and the curves of each saved result."""
    from securitynet.errors import UsageError
    from securitynet.report.figures.result_figures import draw_own
    from securitynet.report.figures.study import draw
    from securitynet.report.saved_result import is_saved, read_saved

    suffixes = [f".{suffix}" for suffix in args.formats]
    paths = draw(table, args.figures, suffixes)
    paths += [path for folder in args.results if is_saved(folder) for path in draw_own(read_saved(folder), args.figures, suffixes)]
    if not paths:
        raise UsageError("nothing to draw: no model has both an accuracy and an attack's number")
    return paths
