"""Rankings of models: one per dataset, attack, metric and who measured it; a rank comes with the ranks that its interval allows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from securitynet.metrics.vocabulary import AUC, FLAGGED, OUTCOME, TEST_ACCURACY, VOCABULARY, Metric, tpr_at_fpr
from securitynet.results.labels import labels_of
from securitynet.results.row import Row

BESIDE: Mapping[str, tuple[str, ...]] = {AUC: (tpr_at_fpr(0.01), tpr_at_fpr(0.001))}  # an AUC never stands alone
FAMILIES = ("membership", "stealing", "backdoor")  # in the order in which a page offers them
Key = tuple[str, str, str, int | None, str]  # dataset, attack, params, budget, origin


@dataclass(frozen=True)
class Standing:
    """One model in a ranking. `rank` 1 is best for the model's owner; equal values share a rank.

    `best` and `worst` are the ranks that the intervals allow: so many models are surely better, so many surely worse; None where this
    model has no interval. `beside` are the numbers of the ranking's further columns.
    """

    entry: str
    rank: int
    best: int | None
    worst: int | None
    value: float
    low: float | None
    high: float | None
    n: int | None
    date: str | None
    weights: str | None
    beside: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Ranking:
    """Models that one attack was run on with one dataset, by one metric; `left_out` are those that failed verification."""

    dataset: str
    attack: str
    family: str
    metric: str
    origin: str
    beside: tuple[str, ...]
    standings: tuple[Standing, ...]
    left_out: tuple[str, ...]


def rankings(rows: Iterable[Row]) -> list[Ranking]:
    """Return the rankings of rows, those of most models first.

    Ranked are outcomes of attacks that have a better and a worse direction (see the vocabulary). Of several rows of the same model and
    weights the latest counts. Controls, and rows without a number, take no part.
    """
    kept = [row for row in rows if row.value is not None and _is_ranked(row)]
    accuracies = {_model(row): row.value for row in rows_of(rows, TEST_ACCURACY)}
    groups: dict[tuple[Key, str], list[Row]] = {}
    for row in kept:
        groups.setdefault((_key(row), row.metric), []).append(row)
    keys = list(dict.fromkeys((attack, params) for (_, attack, params, _, _), _ in groups))
    labels = dict(zip(keys, labels_of(keys), strict=True))
    found = []
    for (key, metric), own in groups.items():
        dataset, attack, params, budget, origin = key
        names = tuple(name for name in BESIDE.get(metric, ()) if (key, name) in groups)
        columns = [{_model(row): row.value for row in groups[key, name]} for name in names]
        if any(_model(row) in accuracies for row in own):
            names, columns = (*names, TEST_ACCURACY), [*columns, accuracies]
        label = labels[attack, params] + ("" if budget is None else f", {budget:,} queries")
        sound = _latest(row for row in own if row.status == "ok")
        left_out = sorted({row.entry for row in own if row.status == "suspect"})
        family = own[0].family or attack.partition("/")[0]
        if sound:
            standings = _ranked(sound, VOCABULARY[metric].better == "higher", columns)
            found.append(Ranking(dataset, label, family, metric, origin, names, standings, tuple(left_out)))
    return sorted(found, key=lambda one: (-len(one.standings), one.dataset, _place(one.family), one.attack, one.metric, one.origin))


def _place(family: str) -> int:
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)


def rows_of(rows: Iterable[Row], metric: str) -> list[Row]:
    """Return the rows of a metric that have a number and stand, oldest first."""
    found = [row for row in rows if row.metric == metric and row.value is not None and row.status == "ok"]
    return sorted(found, key=lambda row: row.date or "")


def _is_ranked(row: Row) -> bool:
    metric = VOCABULARY.get(row.metric)
    ranks = metric is not None and metric.role == OUTCOME and metric.better is not None and metric.name != FLAGGED  # yes or no
    return ranks and row.status in ("ok", "suspect") and not row.attack.startswith(("control/", "verify")) and row.family != "detection"


def _key(row: Row) -> Key:
    given = {name: value for name, value in json.loads(row.params or "{}").items() if (name, value) != ("held_out", False)}
    params = json.dumps(given, sort_keys=True, separators=(",", ":"))
    return row.dataset or "unstated", row.attack, params, row.budget, row.origin or "securitynet"


def _model(row: Row) -> tuple[str, str | None, str | None, str]:
    return row.entry, row.weights_sha256, row.dataset, row.origin or "securitynet"


def _latest(rows: Iterable[Row]) -> list[Row]:
    return list({_model(row): row for row in sorted(rows, key=lambda row: row.date or "")}.values())


def _ranked(rows: Sequence[Row], higher: bool, columns: Sequence[Mapping[Any, float | None]]) -> tuple[Standing, ...]:
    """Return the standings, best first."""
    sign = -1.0 if higher else 1.0
    values = np.asarray([sign * float(row.value or 0.0) for row in rows])
    ends = [tuple(sorted(sign * end for end in _ends(row))) or (value, value) for row, value in zip(rows, values, strict=True)]
    lows, highs = (np.sort([one[side] for one in ends]) for side in (0, 1))
    ordered, found = np.sort(values), []
    for row, value, (low, high) in zip(rows, values, ends, strict=True):
        rank = 1 + int(np.searchsorted(ordered, value, side="left"))
        surely_better, surely_worse = int(np.searchsorted(highs, low)), len(rows) - int(np.searchsorted(lows, high, side="right"))
        best, worst = (1 + surely_better, len(rows) - surely_worse) if _ends(row) else (None, None)
        further = tuple(column.get(_model(row)) for column in columns)
        date, number = (row.date or "").partition("T")[0] or None, float(row.value or 0.0)
        ends_of = row.ci_low, row.ci_high
        found.append(Standing(row.entry, rank, best, worst, number, *ends_of, row.n, date, row.weights_sha256, further))
    return tuple(sorted(found, key=lambda one: (one.rank, one.entry)))


def _ends(row: Row) -> tuple[float, ...]:
    """Both ends of the interval; nothing where one is missing."""
    return () if row.ci_low is None or row.ci_high is None else (row.ci_low, row.ci_high)


def described(metric: Metric) -> dict[str, Any]:
    """Return what the page says of a metric: its title, sentence, unit and direction."""
    return {name: getattr(metric, name) for name in ("title", "sentence", "unit", "better", "whole", "headline")}
