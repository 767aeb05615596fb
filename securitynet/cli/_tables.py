"""What a terminal shows of a verdict and of a result."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from securitynet.attack import Row
    from securitynet.entry import Entry
    from securitynet.results import Result
    from securitynet.verify import Verdict

SHOWN = ("auc", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "balanced_accuracy")
HEADINGS = {
    "auc": "AUC",
    "tpr_at_fpr_0.01": "TPR at 1 % FPR",
    "tpr_at_fpr_0.001": "TPR at 0.1 % FPR",
    "balanced_accuracy": "balanced accuracy",
}


def verdict_lines(entry: Entry, verdict: Verdict) -> RenderableType:
    """Return the model's line, its accuracies with intervals, and the verdict."""
    facts = [entry.architecture, entry.dataset, f"{entry.params:,} parameters" if entry.params is not None else None, entry.licence]
    lines = [Text.assemble((entry.id, "bold"), "  ", " · ".join(fact for fact in facts if fact))]
    shown = [
        f"{one.metric.replace('_', ' ')} {_percent(one.value)} [{_percent(one.ci_low)}, {_percent(one.ci_high)}]"
        for one in verdict.estimates
        if one.value is not None
    ]
    lines.append(Text("  ".join(shown)))
    style = "bold red" if verdict.cause else "green"
    lines.append(Text.assemble((f"verify: {verdict.status}", style), f"  {verdict.cause or '; '.join(verdict.notes)}"))
    return Group(*lines)


def result_view(result: Result) -> RenderableType:
    """Return the verdict, one line per attack, the place among published models and the meaning."""
    summary = result.summary()
    rows = [row for row in result.rows if row.family != "verify"]
    parts: list[RenderableType] = [verdict_lines(result.entry, result.verdict), Text("")]
    if rows:
        parts.append(_attacks(rows))
    parts.append(Text(""))
    for place in summary["published"]:
        parts.append(
            Text(
                f"{place['attack']}: AUC {place['auc']:.3f} is higher than that of {place['percentile']:.0f} % "
                f"of the {place['models']} published models on {place['dataset']}"
            )
        )
    if not summary["published"]:
        parts.append(Text(f"no published measurements of other models on {result.splits.dataset} to compare with", style="dim"))
    parts.append(Text(summary["meaning"], style="bold"))
    return Group(*parts)


def _attacks(rows: Iterable[Row]) -> Table:
    table = Table(header_style="bold", box=None)
    table.add_column("attack")
    for metric in SHOWN:
        table.add_column(HEADINGS[metric], justify="right")
    table.add_column("n", justify="right")
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.attack, row.params), []).append(row)
    for (attack, params), group in grouped.items():
        found = {row.metric: row for row in group}
        if not set(found) & set(SHOWN):
            table.add_row(*_other(_label(attack, params), group))
            continue
        cells = [_cell(found.get(metric)) for metric in SHOWN]
        table.add_row(Text(_label(attack, params)), *cells, str(max(row.n or 0 for row in group)))
    return table


def _other(label: str, group: list[Row]) -> list[Text]:
    """Return the cells of attacks without those columns: skipped and failed ones with their reason, others with their metrics."""
    words = [f"{row.status}: {row.reason}" if row.value is None else f"{row.metric} {row.value:.4g}" for row in group]
    return [Text(label), Text("; ".join(words))]


def _label(attack: str, params: str) -> str:
    given: dict[str, Any] = json.loads(params)
    if given.get("held_out"):
        return f"{attack} (held-out half)"
    return f"{attack} (top {given['top']})" if given.get("top") else attack


def _cell(row: Row | None) -> Text:
    if row is None or row.value is None:
        return Text("-", style="dim")
    if row.ci_low is None or row.ci_high is None:
        return Text(f"{row.value:.3f}")
    return Text.assemble(f"{row.value:.3f}", (f" [{row.ci_low:.3f}, {row.ci_high:.3f}]", "dim"))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
