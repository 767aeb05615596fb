"""Test what a set of measurements shows: the findings of the field, within each dataset and with their statistics.

Without files these are the measurements published with the catalog. What follows from a definition, what too few models
show, and what only pooling over datasets shows is named as such and is no finding.

examples:
  securitynet findings
  securitynet findings results.jsonl --json > findings.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

if TYPE_CHECKING:
    from securitynet.report.findings import Findings

HELP = "test what a set of measurements shows"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "results", nargs="*", type=Path, default=[], metavar="FILE",
        help="rows (.jsonl, .parquet) or folders of `evaluate --output` (default: those published with the catalog)",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="show what was tested and not found too")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print sentences, or everything as JSON."""
    from securitynet.report.findings import findings
    from securitynet.report.measure_table import load_rows

    found = findings(load_rows(args.results) if args.results else None)
    if args.json:
        print_json(found.to_record())
    else:
        _show(found, args.all)
    return DONE


def _show(found: Findings, everything: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from securitynet.report.findings import KINDS, METHODS
    from securitynet.report.findings.hypotheses import DEFINITION, FINDING, NOTHING, UNTESTED

    console = Console()
    count = len(found.of(FINDING))
    console.print(Text(f"{count} finding{'' if count == 1 else 's'} in the measurements of {found.counts.sentence}", style="bold"))
    for kind, title in KINDS.items():
        tests = [one for one in found.tests if one.kind == kind]
        console.print(Text(f"\n{title}: {len(found.of(FINDING, kind))} of {len(tests)} tests", style="bold"))
        shown = (FINDING, NOTHING, DEFINITION, UNTESTED) if everything else (FINDING,)
        for one in (one for verdict in shown for one in found.of(verdict, kind)):
            console.print(Text(f"  {one.sentence}", style="" if one.verdict == FINDING else "dim"), soft_wrap=True)
    console.print(Text(f"\nWarnings: {len(found.warnings)}", style="bold"))
    for warning in found.warnings:
        console.print(Text(f"  {warning}", style="yellow"), soft_wrap=True)
    definitions = sorted({one.reason or "" for one in found.of(DEFINITION)})
    console.print(Text(f"\nNo findings, because they are definitions: {len(found.of(DEFINITION))} pairs", style="bold"))
    for reason in definitions:
        console.print(Text(f"  {reason}"), soft_wrap=True)
    for method in METHODS:
        console.print(Text(method, style="dim"), soft_wrap=True)
