"""What a terminal shows of backdoor detection: the detectors' numbers, then the verdict with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from securitynet.metrics.vocabulary import MASK_L1, P_VALUE, SCORE, TARGET_CLASS, TRIGGER_SUCCESS, TRUE_TRIGGER_SUCCESS, title_of
from securitynet.results.verdict import TRUE

if TYPE_CHECKING:
    from securitynet.results.row import Row

STYLES = {"clean": "green", "suspicious": "bold red", "cannot tell": "yellow"}
COLUMNS = {P_VALUE: "p", TARGET_CLASS: "first class", SCORE: SCORE, MASK_L1: "mask L1", TRIGGER_SUCCESS: "success"}


def backdoor_lines(groups: Mapping[str, Sequence[Row]], verdict: Mapping[str, Any] | None) -> list[RenderableType]:
    """Return a table with one line per detector, a line for each that was skipped or failed, and the verdict."""
    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0))
    table.add_column("backdoor", no_wrap=True)
    for words in (*COLUMNS.values(), "seconds"):
        table.add_column(words, justify="right", no_wrap=True)
    lines: list[RenderableType] = []
    for label, group in groups.items():
        found = {row.metric: row for row in group}
        name = label.removeprefix("backdoor/")
        if SCORE in found:
            seconds = f"{group[0].seconds:.1f}" if group[0].seconds is not None else "-"
            table.add_row(Text(name), *(_cell(found.get(metric)) for metric in COLUMNS), seconds)
        elif group[0].attack != TRUE or (TRUE_TRIGGER_SUCCESS not in found and verdict is not None and verdict["known"]):
            numbers = [f"{title_of(row.metric)} {row.value:.3g}" for row in group if row.value is not None]
            lines.append(Text(f"{name}  {', '.join(numbers) or f'{group[0].status}: {group[0].reason}'}", style="" if numbers else "dim"))
    return [*([table] if table.row_count else []), *lines, *_verdict(verdict)]


def _cell(row: Row | None) -> str:
    if row is None or row.value is None:
        return "-"
    if row.metric == TARGET_CLASS:
        return f"{row.value:.0f}"
    return f"{row.value:.1%}" if row.metric == TRIGGER_SUCCESS else f"{row.value:.3g}"


def _verdict(verdict: Mapping[str, Any] | None) -> list[RenderableType]:
    if verdict is None:
        return []
    lines: list[RenderableType] = [Text.assemble((f"backdoor: {verdict['word']}", STYLES[verdict["word"]]), f"  {verdict['reason']}")]
    return [*lines, *([Text(verdict["known"], style="bold")] if verdict["known"] else [])]
