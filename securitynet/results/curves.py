"""Rows of stealing by budget: the one parser of curves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from securitynet.results.labels import labels_of
from securitynet.results.row import Row


def by_budget(rows: Iterable[Row]) -> dict[int, dict[str, Row]]:
    """Return rows of stealing by rising budget and by metric; rows that have no budget are left out.

    The column `budget` decides; of rows that others published, `budget` among the hyper-parameters.
    """
    found: dict[int, dict[str, Row]] = {}
    for row in rows:
        if (budget := budget_of(row)) is not None:
            found.setdefault(budget, {})[row.metric] = row
    return dict(sorted(found.items()))


def budget_of(row: Row) -> int | None:
    """Return the queries behind a row, None where it has no budget."""
    if row.budget is not None:
        return row.budget
    own = json.loads(row.params or "{}").get("budget") if row.origin != "securitynet" else None
    return own if isinstance(own, int) and own > 0 else None


def largest(rows: Iterable[Row]) -> list[Row]:
    """Return rows without those of smaller budgets of the same attack with the same hyper-parameters."""
    rows = list(rows)
    most: dict[tuple[str, str, str], int] = {}
    for row in rows:
        key = (row.entry, row.attack, row.params)
        most[key] = max(most.get(key, 0), row.budget or 0)
    return [row for row in rows if row.budget is None or row.budget == most[row.entry, row.attack, row.params]]


def stealing_groups(rows: Sequence[Row]) -> dict[str, dict[int, dict[str, Row]]]:
    """Return the measured rows of each stealing attack by its label, each by budget and metric."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if (row.family or row.attack.partition("/")[0]) == "stealing" and row.value is not None:
            groups.setdefault((row.attack, _without_budget(row.params)), []).append(row)
    return {label: by_budget(group) for label, group in zip(labels_of(list(groups)), groups.values(), strict=True)}


def _without_budget(params: str) -> str:
    return json.dumps({key: value for key, value in json.loads(params or "{}").items() if key != "budget"}, sort_keys=True)
