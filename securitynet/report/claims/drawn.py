"""One figure per claim: the effect of each part with its interval, and the one that decides; needs matplotlib (the extra `plots`)."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from securitynet.report.claims.claim import Part, Verdict
from securitynet.report.figures.panels import BLUE, GREY, INK, dress, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 30


def forest(verdict: Verdict) -> Figure | None:
    """Return the parts of a claim as points with intervals, the decisive one as a diamond; None where there is no number.

    Points of what is beside the claim are hollow; the dashed line is the smallest effect that counts.
    """
    whole = verdict.outcome.whole
    parts = [one for one in verdict.outcome.parts if one.estimate][:MOST]
    if whole is None or whole.estimate is None:
        return None
    shown = [*parts, whole] if not parts or parts[0] is not whole else parts
    claim = verdict.claim
    notes = [f"95 % intervals. Filled: of the claim; hollow: beside it; diamond: decides. {verdict.verdict.capitalize()}."]
    if left := sum(1 for one in verdict.outcome.parts if one.estimate) - len(parts):
        notes.append(f"{left} more parts are in the table.")
    figure, [axes] = panels(1, 1, (7.5, 2.2 + 0.3 * len(shown)), textwrap.fill(claim.text, 70), notes)
    for place, one in enumerate(shown):
        _draw(axes, place, one, one is whole)
    axes.axvline(0, color=GREY, linewidth=1, zorder=0)
    for mark in {claim.margin * sign for sign in ([-1, 1] if claim.sign == 0 else [claim.sign])} - {0.0}:
        axes.axvline(mark, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    dress(axes, "", claim.unit, "")
    axes.set_yticks(range(len(shown)), [_label(one) for one in shown], fontsize=8, parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=6)
    return figure


def _draw(axes: Axes, place: int, part: Part, decides: bool) -> None:
    estimate = part.estimate
    if estimate is None:
        return
    colour = INK if decides else BLUE
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=1.4)
    face = colour if part.inside else "white"
    drawn = axes.scatter([estimate.value], [place], marker="D" if decides else "o", s=34, color=face, edgecolors=colour, zorder=3)
    drawn.set_gid(part.name)


def _label(part: Part) -> str:
    return f"{part.name} (n {part.estimate.n})" if part.estimate else part.name
