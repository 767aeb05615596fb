"""What a terminal shows of model stealing: one line per budget, and what the curve says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from securitynet.metrics.vocabulary import ACCURACY, AGREEMENT, AGREEMENT_ON_ERRORS, EXCESS_AGREEMENT, KL, SHARES_NEEDED, queries_for
from securitynet.report.figures.stealing import StealingCurve, curves

if TYPE_CHECKING:
    from securitynet.results.row import Row

COLUMNS = {
    AGREEMENT: "agreement [95 %]",
    EXCESS_AGREEMENT: "above the control",
    ACCURACY: "accuracy",
    AGREEMENT_ON_ERRORS: "on its errors",
    KL: "KL",
}
WIDE = 100


def curves_view(rows: Sequence[Row], width: int) -> RenderableType:
    """Return a table of all curves among `rows` for so many columns of text, a sentence for each, and why others gave none."""
    found = curves(rows)
    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0))
    table.add_column("stealing")
    table.add_column("queries", justify="right", no_wrap=True)
    shown = list(COLUMNS) if width >= WIDE else [metric for metric in COLUMNS if metric not in (AGREEMENT_ON_ERRORS, KL)]
    for metric in shown:
        table.add_column(COLUMNS[metric], justify="right", no_wrap=True)
    for curve in (curve for curve in found if curve.line(AGREEMENT)):
        for number, (budget, points) in enumerate(curve.points.items()):
            table.add_row(Text("" if number else curve.label), f"{budget:,}", *(_cell(points.get(metric), metric) for metric in shown))
    return Group(*([table] if table.row_count else []), *(Text(line) for curve in found for line in _words(curve)))


def _words(curve: StealingCurve) -> list[str]:
    if not curve.line(AGREEMENT):
        return [f"{curve.label}  {curve.stopped or 'gave no agreement'}"]
    last = list(curve.points.values())[-1]
    excess = last.get(EXCESS_AGREEMENT)
    lines = [f"{curve.label}: {excess.reason}"] if excess is not None and excess.reason else []
    needed = [(share, curve.whole[name]) for share in SHARES_NEEDED if (name := queries_for(share)) in curve.whole]
    told = "; ".join(f"{100 * share:g} % with {_queries(row)}" for share, row in needed)
    return [*lines, *([f"of the target's accuracy, {told}"] if told else [])]


def _queries(row: Row) -> str:
    if row.value is None:
        return row.reason or "?"
    return f"{row.value:,.0f} queries{' ' + row.reason if row.reason else ''}"


def _cell(row: Row | None, metric: str) -> Text:
    if row is None or row.value is None:
        return Text("-", style="dim")
    sign = "+" if metric == EXCESS_AGREEMENT else ""
    value = f"{row.value:{sign}.3f}"
    if row.ci_low is None or row.ci_high is None or metric not in (AGREEMENT, EXCESS_AGREEMENT):
        return Text(value)
    low, high = (f"{end:{sign}.3f}".replace("0.", ".", 1) for end in (row.ci_low, row.ci_high))
    return Text.assemble(value, (f" [{low}, {high}]", "dim"))
