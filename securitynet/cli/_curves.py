"""What a terminal shows of model stealing: one line per budget, and what the curve says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from securitynet.report.stealing import Curve, curves

if TYPE_CHECKING:
    from securitynet.attack import Row

COLUMNS = {
    "agreement": "agreement [95 %]",
    "excess_agreement": "above the control",
    "accuracy": "accuracy",
    "agreement_on_errors": "on its errors",
    "kl": "KL",
}
WIDE = 100


def curves_view(rows: Sequence[Row], width: int) -> RenderableType:
    """Return a table of all curves among `rows` for so many columns of text, a sentence for each, and why others gave none."""
    found = curves(rows)
    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0))
    table.add_column("stealing")
    table.add_column("queries", justify="right", no_wrap=True)
    shown = list(COLUMNS) if width >= WIDE else [metric for metric in COLUMNS if metric not in ("agreement_on_errors", "kl")]
    for metric in shown:
        table.add_column(COLUMNS[metric], justify="right", no_wrap=True)
    for curve in (curve for curve in found if curve.line("agreement")):
        for number, (budget, points) in enumerate(curve.points.items()):
            table.add_row(Text("" if number else curve.label), f"{budget:,}", *(_cell(points.get(metric), metric) for metric in shown))
    return Group(*([table] if table.row_count else []), *(Text(line) for curve in found for line in _words(curve)))


def _words(curve: Curve) -> list[str]:
    if not curve.line("agreement"):
        return [f"{curve.label}  {curve.stopped or 'gave no agreement'}"]
    last = list(curve.points.values())[-1]
    excess = last.get("excess_agreement")
    lines = [f"{curve.label}: {excess.reason}"] if excess is not None and excess.reason else []
    needed = [(metric.removeprefix("queries_for_"), row) for metric, row in curve.whole.items() if metric.startswith("queries_for_")]
    told = "; ".join(f"{part} % with {_queries(row)}" for part, row in needed)
    return [*lines, *([f"of the target's accuracy, {told}"] if told else [])]


def _queries(row: Row) -> str:
    if row.value is None:
        return row.reason or "?"
    return f"{row.value:,.0f} queries{' ' + row.reason if row.reason else ''}"


def _cell(row: Row | None, metric: str) -> Text:
    if row is None or row.value is None:
        return Text("-", style="dim")
    sign = "+" if metric == "excess_agreement" else ""
    value = f"{row.value:{sign}.3f}"
    if row.ci_low is None or row.ci_high is None or metric not in ("agreement", "excess_agreement"):
        return Text(value)
    low, high = (f"{end:{sign}.3f}".replace("0.", ".", 1) for end in (row.ci_low, row.ci_high))
    return Text.assemble(value, (f" [{low}, {high}]", "dim"))
