"""ROC curves on logarithmic axes, where low false-positive rates can be seen; needs matplotlib (the extra `plots`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from securitynet.cache import replacing
from securitynet.errors import UsageError
from securitynet.metrics import membership as metrics
from securitynet.metrics.bands import roc_band
from securitynet.results.evidence import Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from securitynet.data import Splits
    from securitynet.entry import Entry
    from securitynet.results.row import Row

Scores = NDArray[np.float64]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")  # Okabe & Ito, distinguishable for the colour-blind
DASHES = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)))
FORMATS = (".png", ".svg", ".pdf")
PER_DECADE = 400  # points that a line keeps: more than a page shows


class WithScores(Protocol):
    """A result, as far as curves need it."""

    @property
    def entry(self) -> Entry:
        """The record of the model."""

    @property
    def splits(self) -> Splits:
        """What was evaluated on."""

    @property
    def rows(self) -> Sequence[Row]:
        """All rows."""

    def scored(self) -> list[Scored]:
        """Return the scores of every attack that has some."""

    def scored_by(self, attack: str) -> Scored:
        """Return those of one attack."""


def roc_figure(result: WithScores, path: str | os.PathLike[str], attacks: Sequence[str] | None = None, band: bool = False) -> Path:
    """Draw one log-log ROC curve per attack (all of `result`, or those named) into a .png, .svg or .pdf; return its path.

    The highest true-positive rate at 1 % comes first in the legend. `band` adds what holds the whole
    curve with 95 % confidence (bands.roc_band). The axes end at one over the number of samples, below which no rate can be measured. Raises
    UsageError where matplotlib is not installed, for another suffix, and where no attack has scores.
    """
    path = drawable(path)
    write_figure(roc_of(result, attacks, band), path)
    return path


def roc_of(result: WithScores, attacks: Sequence[str] | None = None, band: bool = False) -> Figure:
    """Return the figure that roc_figure() writes."""
    found = result.scored() if attacks is None else [result.scored_by(attack) for attack in attacks]
    if not found:
        raise UsageError(f"{result.entry.id}: no attack of this result has scores to draw")
    doubt = next((row.reason for row in result.rows if row.status == "suspect"), None)
    return roc_drawn(f"{result.entry.id} on {result.splits.dataset}", found, band, doubt)


def saved_as(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Return a figure, written to `path` where there is one."""
    if path is not None:
        write_figure(figure, drawable(path))
    return figure


def roc_drawn(title: str, attacks: Sequence[Scored], band: bool = False, doubt: str | None = None) -> Figure:
    """Return the ROC curves of scored attacks as a matplotlib Figure; `doubt` says why the model is suspect."""
    return _figure(title, _curves(attacks), band, doubt)


def _curves(attacks: Sequence[Scored]) -> list[RocCurve]:
    return sorted(
        (RocCurve.of(one, style) for one, style in zip(attacks, _styles(len(attacks)), strict=True)), key=lambda one: -one.at(0.01)
    )


def drawable(path: str | os.PathLike[str]) -> Path:
    """Return the path of a figure that can be drawn. Raises UsageError for another suffix, and where matplotlib is not installed."""
    path = Path(path)
    if path.suffix not in FORMATS:
        raise UsageError(f"{path}: a figure ends in {', '.join(FORMATS)}")
    _matplotlib()
    return path


@dataclass(frozen=True, eq=False)
class RocCurve:
    """One attack's ROC curve and how it is drawn."""

    scores: Scored
    fpr: Scores
    tpr: Scores
    colour: str
    dashes: object

    @classmethod
    def of(cls, one: Scored, style: tuple[object, str]) -> RocCurve:
        """Return the curve of an attack's scores."""
        fpr, tpr, _ = metrics.roc(one.members, one.non_members)
        return cls(one, fpr, tpr, style[1], style[0])

    def at(self, fpr: float) -> float:
        """Return the highest true-positive rate at no more than this false-positive rate."""
        return float(self.tpr[self.fpr <= fpr + 1e-12].max())

    def thinned(self) -> tuple[Scores, Scores]:
        """Return the points that differ on paper; steps between them."""
        lows = 1 / len(self.scores.non_members), 1 / len(self.scores.members)
        cells = [np.rint(PER_DECADE * np.log10(np.maximum(rate, low / 2))) for rate, low in zip((self.fpr, self.tpr), lows, strict=True)]
        kept = np.append(True, (np.diff(cells[0]) != 0) | (np.diff(cells[1]) != 0))
        kept[-1] = True
        return self.fpr[kept], self.tpr[kept]


def _styles(count: int) -> list[tuple[object, str]]:
    """Return dashes and colour of each line, all different for the first 28."""
    return list(islice(cycle(product(DASHES, COLOURS)), count))


def _figure(title: str, curves: Sequence[RocCurve], band: bool, doubt: str | None) -> Figure:
    figure = _matplotlib()(figsize=(9.2, 5.8), dpi=160)
    axes = figure.add_axes((0.09, 0.18, 0.5, 0.72))
    floor = min(1 / len(curve.scores.non_members) for curve in curves), min(1 / len(curve.scores.members) for curve in curves)
    for curve in curves:
        _draw(axes, curve, band)
    _chance(axes, floor)
    _dress(axes, floor)
    _legend(axes, len(curves))
    figure.text(0.09, 0.945, title, fontsize=12, fontweight="bold", parse_math=False)
    figure.text(0.09, 0.022, _caption(curves, band), fontsize=8, color="#444444", linespacing=1.35)
    if doubt:
        figure.text(0.09, 0.915, f"suspect: {doubt}", fontsize=8.5, color="#B00020", parse_math=False)
    return figure


def _legend(axes: Axes, lines: int) -> None:
    """Beside the curves, where it covers none."""
    size, spacing = (8.0, 0.65) if lines < 24 else (6.5, 0.4)
    legend = axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.015, 1.0),
        borderaxespad=0,
        frameon=False,
        alignment="left",
        fontsize=size,
        labelspacing=spacing,
        handlelength=3.2,
        title="TPR at 1 % FPR · AUC · attack",
    )
    legend.get_title().set(fontsize=8, fontweight="bold")


def _draw(axes: Axes, curve: RocCurve, band: bool) -> None:
    fpr, tpr = curve.thinned()
    area = metrics.auc(curve.scores.members, curve.scores.non_members).value
    at = f"{curve.at(0.01):5.1%}" if len(curve.scores.non_members) >= 100 else "    -"  # fewer cannot show such a rate
    label = _plain(f"{at} · {area:.3f} · {curve.scores.label}")
    axes.plot(fpr, tpr, drawstyle="steps-post", color=curve.colour, linestyle=curve.dashes, linewidth=1.5, label=label)
    if band:
        rates = np.geomspace(1 / len(curve.scores.non_members), 1, PER_DECADE)
        low, high = roc_band(curve.scores.members, curve.scores.non_members, rates)
        axes.fill_between(rates, low, high, color=curve.colour, alpha=0.13, linewidth=0)


def _chance(axes: Axes, floor: tuple[float, float]) -> None:
    line = np.geomspace(min(floor), 1, 2)
    axes.plot(line, line, color="#888888", linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    axes.annotate("chance", (0.2, 0.2), xytext=(6, -10), textcoords="offset points", fontsize=8, color="#666666")


def _dress(axes: Axes, floor: tuple[float, float]) -> None:
    axes.set(xscale="log", yscale="log", xlim=(floor[0], 1), ylim=(floor[1], 1.12))
    axes.set_xlabel("false-positive rate (FPR)", fontsize=10)
    axes.set_ylabel("true-positive rate (TPR)", fontsize=10)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axis.set_minor_formatter(lambda _value, _: "")
    axes.grid(which="major", color="#DDDDDD", linewidth=0.7)
    axes.tick_params(labelsize=9)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _caption(curves: Sequence[RocCurve], band: bool) -> str:
    """Say what cannot be seen: the numbers of samples, and the rates below which nothing can be measured."""
    sizes = sorted({(len(curve.scores.members), len(curve.scores.non_members)) for curve in curves}, reverse=True)
    words = "Measured on {:,} members and {:,} non-members".format(*sizes[0])
    if len(sizes) > 1:
        words += "; attacks that are fitted on one half, and those beside them, on {:,} and {:,}".format(*sizes[-1])
    largest = sizes[0][1]
    floor = f"A false-positive rate below 1/{largest:,} = {100 / largest:.2g} % cannot be measured: there the axis ends."
    shade = "\nShaded: a band that holds the whole curve with 95 % confidence." if band else ""
    return f"{words}.\n{floor}{shade}"


def _plain(text: str) -> str:
    """A label is never a formula."""
    return text.replace("$", r"\$")


def _matplotlib() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("figures need matplotlib, which is not installed: pip install 'securitynet[plots]'") from error
    return Figure


def write_figure(figure: Figure, path: Path) -> None:
    """Write without a date and with fixed ids: the same result gives the same file. Text in an SVG stays text."""
    import matplotlib

    options = {"metadata": {} if path.suffix == ".png" else {"Date": None} if path.suffix == ".svg" else {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "securitynet", "svg.fonttype": "none"}), replacing(path) as part:
        figure.savefig(part, format=path.suffix[1:], **options)  # type: ignore[arg-type]
