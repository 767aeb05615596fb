"""What a terminal shows of a verdict and of a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from securitynet.cli._backdoor import backdoor_lines
from securitynet.cli._curves import curves_view
from securitynet.metrics.vocabulary import AUC, BALANCED_ACCURACY, ROBUST_ACCURACY, title_of, tpr_at_fpr
from securitynet.results.labels import labels_of
from securitynet.threat import named

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.results.result import Result
    from securitynet.results.row import Row
    from securitynet.verify import Verdict

COLUMNS = {AUC: "AUC [95 %]", tpr_at_fpr(0.01): "TPR at 1 % FPR", tpr_at_fpr(0.001): "at 0.1 % FPR", BALANCED_ACCURACY: "bal.\nacc."}
NARROW = (AUC, tpr_at_fpr(0.01), BALANCED_ACCURACY)
WIDE = 116


def verdict_lines(entry: Entry, verdict: Verdict) -> RenderableType:
    """Return the model's line, its accuracies with intervals, and the verdict."""
    facts = [entry.architecture, entry.dataset, f"{entry.params:,} parameters" if entry.params is not None else None, entry.licence]
    lines = [Text.assemble((entry.id, "bold"), "  ", " · ".join(fact for fact in facts if fact))]
    shown = [
        f"{title_of(one.metric)} {_percent(one.value)} [{_percent(one.ci_low)}, {_percent(one.ci_high)}]"
        for one in verdict.estimates
        if one.value is not None
    ]
    lines += [Text(line) for line in shown]
    style = "bold red" if verdict.cause else "green"
    lines.append(Text.assemble((f"verify: {verdict.status}", style), f"  {verdict.cause or '; '.join(verdict.notes)}"))
    return Group(*lines)


def result_view(result: Result, width: int) -> RenderableType:
    """Return the verdict, one line per attack, the place among published models and the meaning, for so many columns."""
    summary = result.summary()
    parts: list[RenderableType] = [verdict_lines(result.entry, result.verdict)]
    if stolen := [row for row in result.rows if row.family == "stealing"]:
        parts += [Text(""), curves_view(stolen, width)]
    for family in dict.fromkeys(row.family for row in result.rows if row.family not in ("verify", "stealing")):
        groups = _groups(row for row in result.rows if row.family == family)
        table = _family(family, groups, width)
        others = backdoor_lines(groups, summary["backdoor"]) if family == "backdoor" else _others(groups)
        parts += [Text(""), *([table] if table.row_count else []), *others]
        if any(row.scope == "half" for group in groups.values() for row in group if row.metric == AUC):
            parts.append(Text("smaller n: measured on the half of the samples that the attacker did not know", style="dim"))
        parts += [Text(f"suspect: {cause}", style="bold red") for cause in _doubts(groups) if cause != result.verdict.cause]
    parts.append(Text(""))
    parts += [Text(_place(place)) for place in summary["published"]]
    if not summary["published"] and any(row.family == "membership" for row in result.rows):
        parts.append(Text(f"no published measurements of other models on {result.splits.dataset} to compare with", style="dim"))
    parts += robustness_lines(summary["robustness"])
    parts.append(Text(summary["meaning"], style="bold"))
    return Group(*parts)


def _doubts(groups: dict[str, list[Row]]) -> dict[str, None]:
    """Why numbers of a family are not what they seem, each reason once."""
    rows = (row for group in groups.values() for row in group)
    return {row.reason: None for row in rows if row.status == "suspect" and row.reason is not None}


def _groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each attack by its label; those measured on everybody come first."""
    grouped: dict[tuple[bool, str], list[Row]] = {}
    rows = list(rows)
    keys = list(dict.fromkeys((row.attack, row.params) for row in rows))
    for key, label in zip(keys, labels_of(keys), strict=True):
        group = [row for row in rows if (row.attack, row.params) == key]
        partial = any(row.scope == "half" for row in group) and not any(row.scope == "all" for row in group)
        grouped[partial, label.partition("/")[2] or label] = group
    return {label: grouped[partial, label] for partial, label in sorted(grouped, key=lambda key: key[0])}


def _family(family: str, groups: dict[str, list[Row]], width: int) -> Table:
    shown = tuple(COLUMNS) if width >= WIDE else NARROW
    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(family, no_wrap=True, vertical="bottom")
    for metric in shown:
        table.add_column(COLUMNS[metric], justify="right", no_wrap=True, vertical="bottom")
    table.add_column("n", justify="right", no_wrap=True, vertical="bottom")
    for label, group in groups.items():
        found = {row.metric: row for row in group}
        if set(found) & set(shown):
            intervals = [metric != BALANCED_ACCURACY or width >= WIDE for metric in shown]
            cells = [_cell(found.get(metric), interval) for metric, interval in zip(shown, intervals, strict=True)]
            table.add_row(Text(label), *cells, str(max(row.n or 0 for row in group)))
    return table


def _others(groups: dict[str, list[Row]]) -> list[RenderableType]:
    """One line for each attack without those columns: skipped and failed ones with their reason, others with their metrics."""
    lines: list[RenderableType] = []
    for label, group in groups.items():
        if {row.metric for row in group} & set(COLUMNS):
            continue
        words = [f"{row.status}: {row.reason}" if row.value is None else _said(row) for row in group]
        lines.append(Text(f"{label}  {'; '.join(words)}"))
    return lines


def _said(row: Row) -> str:
    threat = named(row.norm, row.epsilon) if row.metric == ROBUST_ACCURACY else ""
    return f"{title_of(row.metric)}{threat and f' ({threat})'} {row.value:.3g}"


def robustness_lines(summary: dict[str, Any] | None) -> list[RenderableType]:
    """Return a line per place among public models of the same threat model; claims stand among the notes of the verdict."""
    lines: list[RenderableType] = []
    for place in (summary or {}).get("places", []):
        whom = f"{place['percentile']:.0f} % of the {place['models']} public models on {place['dataset']} with a number for it"
        said = f"{place['attack']}: robust accuracy {place['robust_accuracy']:.1%} ({place['threat_model']})"
        lines.append(Text(f"{said} is above that of {whom}"))
    return lines


def _place(place: dict[str, Any]) -> str:
    higher = f"higher than that of {place['percentile']:.0f} % of the {place['models']} published models on {place['dataset']}"
    return f"{place['attack']}: AUC {place['auc']:.3f} is {higher}"


def _cell(row: Row | None, interval: bool = True) -> Text:
    if row is None or row.value is None:
        return Text("-", style="dim")
    if row.ci_low is None or row.ci_high is None or not interval:
        return Text(f"{row.value:.3f}")
    low, high = (f"{end:.3f}".removeprefix("0") for end in (row.ci_low, row.ci_high))
    return Text.assemble(f"{row.value:.3f}", (f" [{low}, {high}]", "dim"))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
