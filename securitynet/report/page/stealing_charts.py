"""Stealing curves of a page as numbers: what a copy has of the model, over the queries that it cost; the template turns them into SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

from securitynet.metrics.vocabulary import ACCURACY, AGREEMENT, CONTROL_ACCURACY, CONTROL_AGREEMENT, EXCESS_AGREEMENT
from securitynet.report.figures.roc import COLOURS
from securitynet.report.page.drawings import DASHES, HEIGHT, LEFT, TOP, WIDTH, nice
from securitynet.results.curves import stealing_groups
from securitynet.results.row import Row

CURVES = {
    AGREEMENT: "agreement with the model",
    CONTROL_AGREEMENT: "agreement of the control: same images, true labels, no queries",
    ACCURACY: "accuracy of the copy",
    CONTROL_ACCURACY: "accuracy of the control",
}
CLOSEST = 34  # units of the SVG between two ticks


@dataclass(frozen=True)
class ChartMark:
    """One point with its interval, and what it says."""

    x: float
    y: float
    interval: tuple[float, float] | None
    tip: str


@dataclass(frozen=True)
class ChartCurve:
    """One metric over the budgets."""

    label: str
    path: str
    colour: str
    dash: str
    marks: tuple[ChartMark, ...]


@dataclass(frozen=True)
class Chart:
    """One attack's curves with the ticks of both axes, its outcome as text, and the height of the model's own accuracy."""

    title: str
    words: str
    curves: tuple[ChartCurve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    level: float | None
    across: str = "queries"


@dataclass(frozen=True)
class _Axes:
    """Logarithmic across, linear up."""

    budgets: tuple[int, ...]
    edge: tuple[float, ...]

    def across(self, budget: int) -> float:
        first, last = self.budgets[0], self.budgets[-1]
        return round(LEFT + WIDTH * log(budget / first) / log(last / first), 1)

    def up(self, value: float) -> float:
        low, high = self.edge[0], self.edge[-1]
        return round(TOP + HEIGHT * (1 - (value - low) / (high - low)), 1)


def stealing_charts(rows: Sequence[Row], accuracy: float | None) -> list[Chart]:
    """Return a chart per stealing attack that has more than one budget; `accuracy` is the model's own."""
    charts = [_chart(label, found, accuracy) for label, found in stealing_groups(rows).items()]
    return [chart for chart in charts if chart is not None]


def _chart(label: str, found: Mapping[int, Mapping[str, Row]], accuracy: float | None) -> Chart | None:
    drawn = {metric: {budget: own[metric] for budget, own in found.items() if metric in own} for metric in CURVES}
    drawn = {metric: points for metric, points in drawn.items() if len(points) > 1}
    if not drawn:
        return None
    budgets = tuple(sorted({budget for points in drawn.values() for budget in points}))
    shown = [row for points in drawn.values() for row in points.values()]
    numbers = [value for row in shown for value in (row.value, row.ci_low, row.ci_high) if value is not None]
    numbers += [accuracy] if accuracy is not None else []
    axes = _Axes(budgets, tuple(nice(min(numbers), max(numbers))))
    curves = tuple(_curve(number, metric, points, axes) for number, (metric, points) in enumerate(drawn.items()))
    y_ticks = tuple((axes.up(value), f"{100 * value:g} %") for value in axes.edge)
    level = None if accuracy is None else axes.up(accuracy)
    return Chart(f"Stealing curve: {label}", _words(budgets[-1], found[budgets[-1]]), curves, _ticks(axes), y_ticks, level)


def _curve(number: int, metric: str, points: Mapping[int, Row], axes: _Axes) -> ChartCurve:
    marks = []
    for budget, row in points.items():
        value, low, high = float(row.value or 0.0), row.ci_low, row.ci_high
        told = f" (95 % interval {low:.2%} to {high:.2%})" if low is not None and high is not None else ""
        interval = (axes.up(low), axes.up(high)) if low is not None and high is not None else None
        marks.append(ChartMark(axes.across(budget), axes.up(value), interval, f"{CURVES[metric]}, {budget:,} queries: {value:.2%}{told}"))
    path = "M" + "L".join(f"{mark.x} {mark.y}" for mark in marks)
    return ChartCurve(CURVES[metric], path, COLOURS[number // 2], DASHES[number % 2], tuple(marks))


def _ticks(axes: _Axes) -> tuple[tuple[float, str], ...]:
    """Budgets that do not crowd each other, from the largest down."""
    kept: list[tuple[float, str]] = []
    for budget in reversed(axes.budgets):
        if not kept or kept[-1][0] - axes.across(budget) >= CLOSEST:
            kept.append((axes.across(budget), f"{budget:,}"))
    return tuple(reversed(kept))


def _words(budget: int, found: Mapping[str, Row]) -> str:
    """Say what the largest budget bought, and whether the queries were worth more than the images."""
    agreement, excess = found.get(AGREEMENT), found.get(EXCESS_AGREEMENT)
    if agreement is None or agreement.value is None:
        return f"Curves up to {budget:,} queries."
    said = f"With {budget:,} queries the copy agrees with the model on {agreement.value:.1%} of the images"
    if excess is None or excess.value is None:
        return f"{said}; no control was trained beside it."
    low, high = excess.ci_low, excess.ci_high
    told = f", 95 % interval {100 * low:+.1f} to {100 * high:+.1f}" if low is not None and high is not None else ""
    points = f"{100 * excess.value:+.1f} points{told}"
    if low is None or low <= 0:
        return f"{said}; that is not shown to be more than the best control without queries has ({points})."
    return f"{said}, more than the best control without queries ({points})."
