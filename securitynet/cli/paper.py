"""Test the claims of the study of 2024, one by one.

The study is SecurityNet (Zhang et al., USENIX Security 2024). Without files the claims are tested on the rows that it
released. Every claim has its test fixed beforehand: population, statistic, covariates and the smallest effect that counts.

examples:
  securitynet paper
  securitynet paper --claim stealing-cub
  securitynet paper results/* --output paper/
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cli import DONE
from securitynet.cli._options import add_json, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from securitynet.report.claims.claim import Verdict
    from securitynet.report.claims.study import Study

HELP = "test the claims of the study of 2024, one by one"
STYLES = {"confirmed": "green", "refuted": "red", "cannot be tested": "yellow"}
SHOWN_PARTS = 24


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "results", nargs="*", type=Path, default=[], metavar="FILE",
        help="rows (.jsonl, .parquet) or folders of `evaluate --output` (default: the rows that the study released)",
    )  # fmt: skip
    parser.add_argument("--claim", nargs="+", default=[], metavar="ID", help="show these claims only, with everything behind them")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write a page and the figures there (needs securitynet[plots])")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the verdicts, or everything as JSON; write the page where it is wanted."""
    from securitynet.report.claims import study
    from securitynet.report.measure_table import load_rows

    rows = load_rows(args.results) if args.results else None
    found = study(rows, args.claim, [str(path) for path in args.results])
    paths: list[Path] = []
    if args.output:
        from securitynet.report.claims.page import write_study

        found, paths = write_study(found, args.output, rows)
    if args.json:
        print_json(found.to_record())
        return DONE
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    _show(console, found, bool(args.claim))
    for path in paths:
        console.print(Text(f"saved {path}"), soft_wrap=True)
    return DONE


def _show(console: Console, found: Study, everything: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from securitynet.report.claims.shown import effect, probability

    console.print(Text(f"Claims of the study of 2024, from {found.source}", style="bold"))
    console.print(Text(found.counts.sentence))
    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("claim", overflow="fold")
    for title in ("verdict", "effect [95 %]", "n", "p corr."):
        table.add_column(title, no_wrap=True, justify="left" if title in ("verdict", "effect [95 %]") else "right")
    for one in found.verdicts:
        n = str(one.estimate.n) if one.estimate else "-"
        table.add_row(one.claim.id, Text(one.verdict, style=STYLES[one.verdict]), effect(one), n, probability(one.p_holm))
    console.print(table)
    for one in found.verdicts:
        if everything:
            _explain(console, one)
        elif one.p is None or one.verdict != "confirmed":
            console.print(Text.assemble((f"\n{one.claim.id}: ", "bold"), one.why))
    if not everything:
        console.print(Text("\neffects by claim: securitynet paper --claim ID; with figures: --output DIR", style="dim"))


def _explain(console: Console, one: Verdict) -> None:
    from rich.text import Text

    from securitynet.report.claims.shown import facts, number, sized

    console.print(Text(f"\n{one.claim.id}: {one.verdict}", style="bold"))
    for name, value in facts(one):
        console.print(Text.assemble((f"{name}: ", "dim"), value))
    for part in one.outcome.parts[:SHOWN_PARTS]:
        beside = "" if part.inside else " (beside the claim)"
        value = f"{number(part.estimate)}, {sized(part.estimate)}" if part.estimate else f"not tested: {part.reason}"
        console.print(Text(f"  {part.name}{beside}: {value}"))
    if (left := len(one.outcome.parts) - SHOWN_PARTS) > 0:
        console.print(Text(f"  and {left} more (--json)"))
