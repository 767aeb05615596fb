"""The report of an audit on a terminal: its first screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from securitynet.errors import shown

if TYPE_CHECKING:
    from securitynet.report.audit import Audit

STYLES = {"high": "bold red", "medium": "yellow", "low": "green"}


def audit_view(found: Audit) -> RenderableType:
    """Return decision, severities with their reasons, the most useful thing to do, and what defences did."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for one in found.risks:
        table.add_row(one.name, Text(one.severity, STYLES.get(one.severity, "dim")), Text(shown(one.reason)))
    parts: list[RenderableType] = [Text(f"{shown(found.model)}: {found.decision}", "bold"), Text(shown(found.because)), Text(), table]
    if found.advice:
        first = found.advice[0]
        parts += [Text(), Text(f"first: {first.text}"), *([Text(shown(first.reference), "dim")] if first.reference else [])]
    for place in found.places.places:
        parts.append(Text(shown(place.words)))
    if found.tried:
        parts += [Text(), _tried(found)]
    return Group(*parts)


def _tried(found: Audit) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("defence", "accuracy", "AUC of the best attack", "agreement of a copy", "above the control"):
        table.add_column(title)
    for one in found.tried:
        table.add_row(one.defence, str(one.accuracy), str(one.auc), str(one.agreement), str(one.excess))
    return table
