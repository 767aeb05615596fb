"""The numbers of one evaluated model as tables: a line per attack or per budget, and what each attack cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securitynet.metrics.vocabulary import (
    ACCURACY,
    AGREEMENT,
    AUC,
    BALANCED_ACCURACY,
    EXCESS_AGREEMENT,
    KL,
    RELATIVE_ACCURACY,
    is_whole,
    title_of,
    tpr_at_fpr,
)
from securitynet.results.curves import by_budget
from securitynet.results.row import Row
from securitynet.threat import named

COLUMNS = {name: title_of(name) for name in (AUC, tpr_at_fpr(0.01), tpr_at_fpr(0.001), BALANCED_ACCURACY)}
STEALING = {name: title_of(name) for name in (AGREEMENT, EXCESS_AGREEMENT, ACCURACY, RELATIVE_ACCURACY, KL)}
FAMILIES = {"backdoor": "backdoor detection"}
UNITS = ("B", "KiB", "MiB", "GiB")


@dataclass(frozen=True)
class NumberCell:
    """One number: its value and interval as text; a reason where there is no number."""

    text: str
    interval: str = ""
    reason: str = ""


@dataclass(frozen=True)
class NumberTable:
    """The attacks of one family: a header, and per attack its label, cells and number of samples."""

    family: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, tuple[NumberCell, ...]], ...]


def tables(labelled: Mapping[str, list[Row]]) -> list[NumberTable]:
    """Return the tables of a model's rows by the label of their attack: one or two per family, then the price of the attacks."""
    families: dict[str, dict[str, list[Row]]] = {}
    for label, group in labelled.items():
        families.setdefault(group[0].family or group[0].attack.partition("/")[0], {})[label] = group
    found = []
    for family, groups in families.items():
        if family == "membership":
            found += _membership(groups)
        elif family == "stealing":
            found += _stealing(groups)
        else:
            title = FAMILIES.get(family, family or "other")
            found.append(_plain(title, [(label, row) for label, group in groups.items() for row in group]))
    return found + _price(labelled)


def _membership(groups: Mapping[str, list[Row]]) -> list[NumberTable]:
    """Return a line per attack that has an AUC, highest first, and the other metrics of the others below."""
    ranked = {label: {row.metric: row for row in group} for label, group in groups.items() if any(row.metric == AUC for row in group)}
    order = sorted(ranked, key=lambda label: -(ranked[label][AUC].value or 0.0))
    rest = [(label, row) for label, group in groups.items() if label not in ranked for row in group if row.value is not None]
    lines = tuple((label, _cells(ranked[label], COLUMNS, AUC)) for label in order)
    found = [NumberTable("membership inference", (*COLUMNS.values(), "n"), lines)] if lines else []
    return found + ([_plain("membership inference, other metrics", rest)] if rest else [])


def _stealing(groups: Mapping[str, list[Row]]) -> list[NumberTable]:
    """Return a line per attack and budget, and the other metrics of the largest budget below."""
    lines, rest = [], []
    for label, group in groups.items():
        for budget, found in by_budget(group).items():
            if not STEALING.keys().isdisjoint(found):
                lines.append((f"{label}, {budget:,} queries", _cells(found, STEALING, AGREEMENT)))
        known = lines and label in lines[-1][0]
        last = max((row.budget for row in group if row.budget is not None), default=None)
        rest += [(label, row) for row in group if row.budget in (None, last) and not (known and row.metric in STEALING)]
    curves = [NumberTable("model stealing", (*STEALING.values(), "n"), tuple(lines))] if lines else []
    rest = [(label, row) for label, row in rest if row.value is not None]
    return curves + ([_plain("model stealing, other metrics" if lines else "model stealing", rest)] if rest else [])


def _price(labelled: Mapping[str, list[Row]]) -> list[NumberTable]:
    """Return what each attack cost: queries, seconds and memory of its first row that has them."""
    lines = []
    for label, group in labelled.items():
        row = next((one for one in group if one.seconds is not None), None)
        if row is not None and row.seconds is not None:
            asked = "–" if row.queries is None else f"{row.queries:,}"
            lines.append((label, (NumberCell(asked), NumberCell(f"{row.seconds:,.2f}"), NumberCell(_bytes(row.peak_memory)))))
    return [NumberTable("price", ("queries", "seconds", "peak memory"), tuple(lines))] if lines else []


def _bytes(count: int | None) -> str:
    if count is None:
        return "–"
    power = min((max(count, 1).bit_length() - 1) // 10, len(UNITS) - 1)
    return f"{count / 1024**power:,.0f} {UNITS[power]}"


def _plain(title: str, rows: Sequence[tuple[str, Row]]) -> NumberTable:
    """Return a table with a line per row."""
    lines = tuple((label, (NumberCell(_metric(row)), cell(row), NumberCell(_count(row)))) for label, row in rows)
    return NumberTable(title, ("metric", "value [95 % interval]", "n"), lines)


def _metric(row: Row) -> str:
    threat = named(row.norm, row.epsilon)
    return title_of(row.metric) + (threat and f" ({threat})")


def _cells(found: Mapping[str, Row], columns: Mapping[str, str], counted: str) -> tuple[NumberCell, ...]:
    shown = (cell(found[metric]) if metric in found else NumberCell("–") for metric in columns)
    return (*shown, NumberCell(_count(found[counted]) if counted in found else "–"))


def cell(row: Row) -> NumberCell:
    """Return how a row is shown in a table."""
    if row.value is None:
        return NumberCell("–", reason=row.reason or row.status)
    whole = is_whole(row.metric)
    digits = f"{row.value:,.0f}" if whole else f"{row.value:.4f}"
    return NumberCell(digits, ends(row.ci_low, row.ci_high, ",.0f" if whole else ".3f"), row.reason or "")


def ends(low: float | None, high: float | None, form: str) -> str:
    """Return an interval's ends in one format, "at least LOW" or "at most HIGH" where one is missing, "" where both are."""
    if low is None or high is None:
        return "" if low is high else f"at most {high:{form}}" if low is None else f"at least {low:{form}}"
    return f"[{low:{form}}, {high:{form}}]"


def _count(row: Row) -> str:
    return f"{row.n:,}" if row.n is not None else "–"
