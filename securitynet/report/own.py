"""Figures of one saved result: its ROC curves and its stealing curves; needs matplotlib (the extra `plots`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attack import Row
from securitynet.report.curves import CURVES, stealing_groups
from securitynet.report.measured import TEST
from securitynet.report.panels import dress, legend_above, panels
from securitynet.report.roc import COLOURS, drawable, roc_drawn, write_figure
from securitynet.report.saved import Saved
from securitynet.report.scored import Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOWHERE = np.empty(0, np.int64)


def draw_own(saved: Saved, folder: Path, suffixes: Sequence[str] = (".png", ".svg")) -> list[Path]:
    """Draw what a saved result has of ROC and stealing curves into `folder`; return the paths, none where it has neither.

    Raises UsageError where matplotlib is not installed.
    """
    name = re.sub(r"[^\w.-]+", "-", saved.entry.id)
    made = {f"roc-{name}": roc_of(saved), f"stealing-{name}": stealing_curves(saved)}
    paths = []
    for stem, figure in made.items():
        if figure is not None:
            own = [drawable(folder / f"{stem}{suffix}") for suffix in suffixes]
            for path in own:
                write_figure(figure, path)
            paths += own
    return paths


def roc_of(saved: Saved) -> Figure | None:
    """Return the ROC curves of all attacks with saved scores, None where there are none."""
    evidence, curves = saved.evidence(), []
    for label, rows in saved.labelled().items():
        one = evidence.get((rows[0].attack, rows[0].params))
        if one is not None and min(len(one.members), len(one.non_members)) > 1:
            places = (one.places, one.non_places, NOWHERE, NOWHERE)
            curves.append(Scored(one.attack, one.params, label, one.members, one.non_members, *places))
    doubt = next((row.reason for row in saved.rows if row.status == "suspect"), None)
    return roc_drawn(f"{saved.entry.id} on {saved.entry.dataset}", curves, doubt=doubt) if curves else None


def stealing_curves(saved: Saved) -> Figure | None:
    """Return one panel per stealing attack with more than one budget, None where there is none."""
    groups = {label: found for label, found in stealing_groups(saved.rows).items() if len(found) > 1}
    if not groups:
        return None
    figure, axes = panels(len(groups), min(len(groups), 3), None, f"Stealing curves: {saved.entry.id}")
    accuracy = saved.row(TEST)
    for one, (label, found) in zip(axes, groups.items(), strict=True):
        for number, (metric, words) in enumerate(CURVES.items()):
            _line(one, {budget: own[metric] for budget, own in found.items() if metric in own}, number, words)
        if accuracy is not None and accuracy.value is not None:
            one.axhline(accuracy.value, color="#888888", linewidth=1, linestyle=(0, (2, 2)), label="accuracy of the model itself")
        one.set_xscale("log")
        one.set_xticks(list(found), [f"{budget:,}" for budget in found])
        one.minorticks_off()
        dress(one, label, "queries", "share of the images")
        legend_above(one)
    return figure


def _line(axes: Axes, points: Mapping[int, Row], number: int, words: str) -> None:
    """Draw one metric with its intervals."""
    if not points:
        return
    values = np.asarray([float(row.value or 0.0) for row in points.values()])
    ends = [(row.ci_low, row.ci_high) for row in points.values()]
    low = [value - (end[0] if end[0] is not None else value) for value, end in zip(values, ends, strict=True)]
    high = [(end[1] if end[1] is not None else value) - value for value, end in zip(values, ends, strict=True)]
    style = {"color": COLOURS[number // 2], "linestyle": ("solid", "dashed")[number % 2], "marker": "o", "markersize": 3, "linewidth": 1.4}
    axes.errorbar(list(points), values, yerr=np.maximum([low, high], 0), label=words, **style)  # type: ignore[arg-type]
