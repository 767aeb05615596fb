"""One metric of all attacks on several saved models: attacks down, models (or one model's defences) across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from securitynet.errors import unknown
from securitynet.report.saved_result import SavedResult
from securitynet.results.labels import labels_of
from securitynet.results.row import Row


@dataclass(frozen=True)
class AttackLine:
    """One attack: its row of the metric for each model, None where it has no number."""

    attack: str
    params: str
    label: str
    rows: tuple[Row | None, ...]


@dataclass(frozen=True)
class AttackTable:
    """The lines of `metric`; `columns` name the models."""

    metric: str
    columns: tuple[str, ...]
    lines: tuple[AttackLine, ...]

    def to_record(self) -> dict[str, Any]:
        """Return it as a JSON object: one object per attack and model."""
        cells = [
            {"attack": line.attack, "params": line.params, "model": name, "value": row.value, "ci_low": row.ci_low, "ci_high": row.ci_high}
            for line in self.lines
            for name, row in zip(self.columns, line.rows, strict=True)
            if row is not None
        ]
        return {"metric": self.metric, "columns": list(self.columns), "cells": cells}


def attack_table(models: Sequence[SavedResult], metric: str) -> AttackTable:
    """Return the table of one metric. Raises UsageError with the available metrics where no attack has it."""
    found = [{(row.attack, row.params): row for row in one.rows if row.metric == metric and row.value is not None} for one in models]
    keys = list(dict.fromkeys(key for one in found for key in one))
    if not keys:
        raise unknown("metric in these results", metric, {row.metric for one in models for row in one.rows if row.value is not None})
    lines = [AttackLine(*key, label, tuple(one.get(key) for one in found)) for key, label in zip(keys, labels_of(keys), strict=True)]
    return AttackTable(metric, columns([one.entry.id for one in models]), tuple(lines))


def columns(ids: Sequence[str]) -> tuple[str, ...]:
    """Return short names: where all are one model with and without defences, the defences (`none` for the model itself)."""
    base = min(ids, key=len)
    if all(one == base or one.startswith(f"{base}+") for one in ids):
        return tuple(one.removeprefix(base).removeprefix("+") or "none" for one in ids)
    return tuple(ids)
