"""Pieces of the figures: panels, scatters, bars, legends that cover nothing."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from securitynet.report.figures.roc import _matplotlib
from securitynet.report.findings.fits import fitted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREY, INK = "#0072B2", "#5F6368", "#1A1A1A"


def panels(
    count: int, columns: int, size: tuple[float, float] | None, title: str, notes: Sequence[str] = (), common: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels with a title, notes below it, and its axes, all of one range where they are `common`."""
    rows = math.ceil(count / columns)
    figure = _matplotlib()(figsize=size or (max(5.5, 3.7 * columns), 0.9 + 3.1 * rows), dpi=150, layout="constrained")
    grid = np.asarray(figure.subplots(rows, columns, squeeze=False, sharex=common, sharey=common)).ravel()
    for spare in grid[count:]:
        spare.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    if notes:
        letters = int(17 * figure.get_figwidth())
        figure.supxlabel("\n".join(textwrap.fill(note, letters) for note in notes), x=0.01, ha="left", fontsize=8, color=GREY)
    return figure, list(grid[:count])


def scatter(axes: Axes, lines: pd.DataFrame, x: str, y: str, style: tuple[str, str], label: str) -> None:
    """Draw the models that have both numbers; a label that begins with `_` is of hollow points and stays out of the legend."""
    points = lines[lines[x].notna() & lines[y].notna()]
    if len(points):
        colour, marker = style
        hollow = label.startswith("_")
        drawn = axes.scatter(
            points[x], points[y], s=18, marker=marker, alpha=0.65, label=label.replace("$", r"\$"),
            facecolors="none" if hollow else colour, edgecolors=colour if hollow else "none", linewidths=0.9 if hollow else 0,
        )  # fmt: skip
        drawn.set_gid(f"{points['dataset'].iloc[0]}|{points['purpose'].iloc[0]}|{x}|{y}")


def fit(axes: Axes, lines: pd.DataFrame, x: str, y: str, colour: str) -> str:
    """Draw the line of y on x with its 95 % band, where there is one; return the correlation and n as text."""
    found, text = fitted(lines, x, y)
    if found is not None:
        axes.plot(found.x, found.line, color=colour, linewidth=1.2, zorder=3)
        axes.fill_between(found.x, found.low, found.high, color=colour, alpha=0.15, linewidth=0, zorder=1)
    return text


def captions(axes: Axes, lines: Sequence[str]) -> None:
    """Write lines between title and axes, where they cover no point."""
    axes.set_title(axes.get_title(loc="left"), fontsize=10, loc="left", fontweight="bold", parse_math=False, pad=6 + 8.4 * len(lines))
    drawn = axes.annotate(
        "\n".join(lines), (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", fontsize=7, color=GREY, parse_math=False
    )
    drawn.set_in_layout(False)
    figure = axes.figure.get_figure(root=True)
    if figure is not None:
        figure.set_figheight(max(figure.get_figheight(), 3.6 + 0.12 * len(lines)))


def chance(axes: Axes) -> None:
    """Draw the line of an attack that knows nothing."""
    axes.axhline(0.5, color="#888888", linewidth=1, linestyle=(0, (2, 2)), zorder=0)


def dress(axes: Axes, title: str, x: str, y: str, note: str | None = None) -> None:
    """Give axes their title, labels and grid; `note` stands in a corner."""
    axes.set_title(title, fontsize=10, loc="left", fontweight="bold", parse_math=False)
    if note:
        axes.text(0.02, 0.97, note, transform=axes.transAxes, fontsize=7.5, color=GREY, va="top")
    axes.set_xlabel(x, fontsize=8.5)
    axes.set_ylabel(y, fontsize=8.5)
    axes.tick_params(labelsize=8, labelbottom=True, labelleft=True)
    axes.locator_params(nbins=5, steps=[1, 2, 5, 10])
    axes.margins(0.06)
    axes.grid(color="#E4E6E8", linewidth=0.6)
    _clean(axes)


def _clean(axes: Axes) -> None:
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend_above(axes: Axes) -> None:
    """Between title and axes, where it covers no point."""
    lines = len(axes.get_legend_handles_labels()[0])
    axes.set_title(axes.get_title(loc="left"), fontsize=10, loc="left", fontweight="bold", parse_math=False, pad=5 + 11 * lines)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 0.99), fontsize=7.5, frameon=False, handletextpad=0.1, borderpad=0, borderaxespad=0.2
    )


def shared_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One for all panels, beside them."""
    shown = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside right upper", fontsize=8, frameon=False, handletextpad=0.1)


def bars(axes: Axes, title: str, unit: str, counts: Sequence[tuple[str, int]]) -> None:
    """Draw counts as horizontal bars, first on top."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=10, loc="left", fontweight="bold")
    if not counts:
        axes.text(0.5, 0.5, "none", ha="center", va="center", color=GREY, transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = [name for name, _ in counts]
    drawn = axes.barh(range(len(counts)), [count for _, count in counts], color=BLUE, height=0.7)
    axes.bar_label(drawn, padding=3, fontsize=8, color=INK)
    axes.set_yticks(range(len(counts)), names, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel(unit, fontsize=8)
    axes.set_xlim(0, 1.15 * max(count for _, count in counts))
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    _clean(axes)
