"""Rankings of models: one per dataset, attack, metric and who measured it; a rank comes with the ranks that its interval allows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.vocabulary import AUC, FLAGGED, OUTCOME, TEST_ACCURACY, VOCABULARY, Metric, tpr_at_fpr
from securitynet.report.stored_rows import Rows, frame_of
from securitynet.results.labels import labels_of
from securitynet.threat import named

if TYPE_CHECKING:
    import pandas as pd

BESIDE: Mapping[str, tuple[str, ...]] = {AUC: (tpr_at_fpr(0.01), tpr_at_fpr(0.001))}  # an AUC never stands alone
FAMILIES = ("membership", "stealing", "backdoor")  # in the order in which a page offers them
Key = tuple[str, str, str, int | None, str, str]  # dataset, attack, params, budget, threat model, origin
Model = tuple[str, str | None, str | None, str]  # entry, weights, dataset, origin


@dataclass(frozen=True, slots=True)
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


def rankings(rows: Rows) -> list[Ranking]:
    """Return the rankings of rows, those of most models first.

    Ranked are outcomes of attacks that have a better and a worse direction (see the vocabulary). Of several rows of the same model and
    weights the latest counts. Controls, and rows without a number, take no part.
    """
    frame = frame_of(rows)
    frame = frame[frame["value"].notna().to_numpy()]
    accuracies = _values(_lines(frame[((frame["metric"] == TEST_ACCURACY) & (frame["status"] == "ok")).to_numpy()]))
    groups = _groups(frame[_is_ranked(frame)])
    keys = list(dict.fromkeys((attack, params) for (_, attack, params, *_), _ in groups))
    labels = dict(zip(keys, labels_of(keys), strict=True))
    found = []
    for (key, metric), lines in groups.items():
        dataset, attack, params, budget, threat, origin = key
        own = _lines(lines)
        names = tuple(name for name in BESIDE.get(metric, ()) if (key, name) in groups)
        columns = [_values(_lines(groups[key, name]), dated=False) for name in names]
        if any(_model(one) in accuracies for one in own):
            names, columns = (*names, TEST_ACCURACY), [*columns, accuracies]
        label = labels[attack, params] + ("" if budget is None else f", {budget:,} queries") + (threat and f", {threat}")
        sound = _latest(one for one in own if one.status == "ok")
        left_out = sorted({one.entry for one in own if one.status == "suspect"})
        family = own[0].family or attack.partition("/")[0]
        if sound:
            standings = _ranked(sound, VOCABULARY[metric].better == "higher", columns)
            found.append(Ranking(dataset, label, family, metric, origin, names, standings, tuple(left_out)))
    return sorted(found, key=lambda one: (-len(one.standings), one.dataset, _place(one.family), one.attack, one.metric, one.origin))


def _groups(frame: pd.DataFrame) -> dict[tuple[Key, str], pd.DataFrame]:
    """The rows of each ranking by its key and metric, in the order in which these appear."""
    missing = {"dataset": "unstated", "origin": "securitynet"}
    by = {name: frame[name].astype(object).fillna(text).replace("", text) for name, text in missing.items()}
    by |= {"attack": frame["attack"].astype(object), "metric": frame["metric"].astype(object)}
    by |= {"params": frame["params"].astype(object).map(_plain), "budget": frame["budget"].fillna(-1).astype(int)}
    by["threat"] = frame["norm"].astype(object).combine(frame["epsilon"].astype(object), _threat)
    order = ("dataset", "attack", "params", "budget", "threat", "origin", "metric")
    found: dict[tuple[Key, str], pd.DataFrame] = {}
    for (dataset, attack, params, budget, threat, origin, metric), lines in frame.groupby([by[name] for name in order], sort=False):
        found[(dataset, attack, params, None if budget < 0 else int(budget), threat, origin), metric] = lines
    return found


def _threat(norm: object, epsilon: object) -> str:
    """The threat model of a line of a frame, in which missing is NaN."""
    bound = epsilon if isinstance(epsilon, float) and epsilon == epsilon else None
    return named(norm if isinstance(norm, str) else None, bound)


def _place(family: str) -> int:
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)


def _is_ranked(frame: pd.DataFrame) -> NDArray[np.bool_]:
    names = [
        name
        for name, metric in VOCABULARY.items()
        if metric.role == OUTCOME and metric.better is not None and metric.name != FLAGGED  # yes or no
    ]
    other = frame["attack"].map(lambda name: name.startswith(("control/", "verify"))).astype(bool) | (frame["family"] == "detection")
    return np.asarray(frame["metric"].isin(names) & frame["status"].isin(["ok", "suspect"]) & ~other)


@cache
def _plain(params: str) -> str:
    given = {name: value for name, value in json.loads(params or "{}").items() if (name, value) != ("held_out", False)}
    return json.dumps(given, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class _Line:
    """What a ranking reads of a row, under the names of its columns."""

    entry: str
    weights_sha256: str | None
    dataset: str | None
    origin: str | None
    family: str
    status: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int | None
    date: str | None


def _lines(frame: pd.DataFrame) -> list[_Line]:
    columns = [frame[one.name].astype(object) for one in fields(_Line)]
    return [_Line(*values) for values in zip(*(column.where(column.notna(), None) for column in columns), strict=True)]


def _model(one: _Line) -> Model:
    return one.entry, one.weights_sha256, one.dataset, one.origin or "securitynet"


def _values(lines: Sequence[_Line], dated: bool = True) -> dict[Model, float]:
    """The value of each model, the latest where it is `dated`, else the last."""
    return {_model(one): one.value for one in (_by_date(lines) if dated else lines)}


def _by_date(lines: Iterable[_Line]) -> list[_Line]:
    return sorted(lines, key=lambda one: one.date or "")


def _latest(lines: Iterable[_Line]) -> list[_Line]:
    return list({_model(one): one for one in _by_date(lines)}.values())


def _ranked(rows: Sequence[_Line], higher: bool, columns: Sequence[Mapping[Model, float]]) -> tuple[Standing, ...]:
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


def _ends(row: _Line) -> tuple[float, ...]:
    """Both ends of the interval; nothing where one is missing."""
    return () if row.ci_low is None or row.ci_high is None else (row.ci_low, row.ci_high)


def described(metric: Metric) -> dict[str, Any]:
    """Return what the page says of a metric: its title, sentence, unit and direction."""
    return {name: getattr(metric, name) for name in ("title", "sentence", "unit", "better", "whole", "headline")}
