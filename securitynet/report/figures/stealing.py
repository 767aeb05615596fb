"""The curve of a model-stealing attack: a table from its rows, and a figure; the figure needs matplotlib (the extra `plots`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.errors import UsageError
from securitynet.metrics.vocabulary import ACCURACY, AGREEMENT, CONSTANT_AGREEMENT, CONTROL_ACCURACY, CONTROL_AGREEMENT, TEST_ACCURACY
from securitynet.report.figures.roc import COLOURS, _matplotlib, _plain, drawable, write_figure
from securitynet.results.curves import budget_of, by_budget
from securitynet.results.labels import labels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from securitynet.results.result import Result
    from securitynet.results.row import Row

CAPTION = (
    "Solid: copies trained on the target's outputs. Dashed: the same networks on the same images with true labels, without the target.\n"
    "Agreement: share of the {n:,} test images, none of them queried, on which copy and target name the same class; bars: 95 %."
)


@dataclass(frozen=True, eq=False)
class StealingCurve:
    """The rows of one attack: `points` by budget (rising) and metric, those of the whole curve by metric; `stopped`: why there are none."""

    label: str
    points: dict[int, dict[str, Row]] = field(default_factory=dict)
    whole: dict[str, Row] = field(default_factory=dict)
    stopped: str | None = None

    def line(self, metric: str) -> list[tuple[int, Row]]:
        """Return (budget, row) where there is a number."""
        found = ((budget, rows.get(metric)) for budget, rows in self.points.items())
        return [(budget, row) for budget, row in found if row is not None and row.value is not None]


def curves(rows: Iterable[Row]) -> list[StealingCurve]:
    """Return the curves among `rows`, those of one seed, in order."""
    rows = [row for row in rows if row.family == "stealing"]
    keys = list(dict.fromkeys((row.attack, row.params) for row in rows))
    labels = [label.removeprefix("stealing/").replace("settings ", "") for label in labels_of(keys)]
    return [_curve([row for row in rows if (row.attack, row.params) == key], label) for key, label in zip(keys, labels, strict=True)]


def curve_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one line per attack and budget: attack, queries, then each metric's value and the ends of its interval."""
    import pandas as pd

    lines = []
    for curve in curves(rows):
        for budget, found in curve.points.items():
            line: dict[str, object] = {"attack": curve.label, "queries": budget}
            for metric, row in found.items():
                line |= {metric: row.value, f"{metric}_low": row.ci_low, f"{metric}_high": row.ci_high}
            lines.append(line)
    return pd.DataFrame(lines)


def curve_figure(result: Result, path: str | os.PathLike[str]) -> Path:
    """Draw the curves of a result into a .png, .svg or .pdf; return its path.

    Raises UsageError where matplotlib is not installed, for another suffix, and where nothing was stolen.
    """
    path = drawable(path)
    write_figure(curve_of(result), path)
    return path


def curve_of(result: Result) -> Figure:
    """Return the figure that curve_figure() writes."""
    figure = curves_drawn(f"{result.entry.id} on {result.splits.dataset}", result.rows)
    if figure is None:
        raise UsageError(f"{result.entry.id}: no stealing attack of this result gave a curve to draw")
    return figure


def curves_drawn(title: str, rows: Sequence[Row]) -> Figure | None:
    """Return agreement and accuracy over the number of queries, one colour per attack; None where nothing was stolen."""
    found = [curve for curve in curves(rows) if curve.line(AGREEMENT)]
    if not found:
        return None
    figure = _matplotlib()(figsize=(9.2, 5.2), dpi=160)
    panels = [figure.add_axes((left, 0.32, 0.4, 0.53)) for left in (0.08, 0.57)]
    for curve, colour in zip(found, COLOURS * len(found), strict=False):
        for axes, metrics in zip(panels, ((AGREEMENT, CONTROL_AGREEMENT), (ACCURACY, CONTROL_ACCURACY)), strict=True):
            _draw(axes, curve, metrics, colour)
    _levels(panels, found[0], next((row.value for row in rows if row.metric == TEST_ACCURACY), None))
    for axes, name in zip(panels, ("Agreement with the target", "Accuracy"), strict=True):
        _dress(axes, name, sorted({budget for curve in found for budget in curve.points}))
    handles, labels = panels[0].get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), loc="center left", bbox_to_anchor=(0.07, 0.17), ncols=2, frameon=False, fontsize=8)
    n = found[0].line(AGREEMENT)[-1][1].n or 0
    figure.text(0.08, 0.93, title, fontsize=12, fontweight="bold", parse_math=False)
    figure.text(0.08, 0.03, CAPTION.format(n=n), fontsize=8, color="#444444", linespacing=1.35)
    return figure


def _curve(rows: Sequence[Row], label: str) -> StealingCurve:
    whole = {row.metric: row for row in rows if row.metric and budget_of(row) is None}
    stopped = next((f"{row.status}: {row.reason}" for row in rows if not row.metric), None)
    return StealingCurve(label, by_budget(rows), whole, stopped)


def _draw(axes: Axes, curve: StealingCurve, metrics: Sequence[str], colour: str) -> None:
    for metric, dashes in zip(metrics, ("solid", "dashed"), strict=True):
        line = curve.line(metric)
        if not line:
            continue
        values = [row.value or 0.0 for _, row in line]
        below = [value - (value if row.ci_low is None else row.ci_low) for value, (_, row) in zip(values, line, strict=True)]
        above = [(value if row.ci_high is None else row.ci_high) - value for value, (_, row) in zip(values, line, strict=True)]
        label = _plain(curve.label if dashes == "solid" else "true labels, without the target")
        axes.errorbar(
            [budget for budget, _ in line],
            values,
            yerr=[below, above],
            color=colour,
            linestyle=dashes,
            marker="o" if dashes == "solid" else None,
            markersize=4,
            linewidth=1.4,
            capsize=2,
            label=label,
        )


def _levels(panels: Sequence[Axes], curve: StealingCurve, accuracy: float | None) -> None:
    """Grey lines: the agreement of always naming one class; the target's own accuracy."""
    constant = curve.line(CONSTANT_AGREEMENT)
    levels = [constant[-1][1].value if constant else None, accuracy]
    for axes, level, words in zip(panels, levels, ("always its most frequent class", "the target"), strict=True):
        if level is not None:
            axes.axhline(level, color="#888888", linewidth=1, linestyle=(0, (2, 2)))
            axes.annotate(words, (0.02, level), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", fontsize=8)


def _dress(axes: Axes, title: str, budgets: Sequence[int]) -> None:
    axes.set(xscale="log")
    axes.set_xticks(budgets)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("queries", fontsize=10)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda _value, _: "")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.grid(which="major", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
