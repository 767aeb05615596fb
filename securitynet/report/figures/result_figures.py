"""Figures of one saved result: its ROC curves and its stealing curves; needs matplotlib (the extra `plots`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.report.figures.roc import drawable, roc_drawn, write_figure
from securitynet.report.figures.stealing import curves_drawn
from securitynet.report.saved_result import SavedResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_own(saved: SavedResult, folder: Path, suffixes: Sequence[str] = (".png", ".svg")) -> list[Path]:
    """Draw what a saved result has of ROC and stealing curves into `folder`; return the paths, none where it has neither.

    Raises UsageError where matplotlib is not installed.
    """
    name = re.sub(r"[^\w.-]+", "-", saved.entry.id)
    title = f"{saved.entry.id} on {saved.entry.dataset}"
    made = {f"roc-{name}": roc_of(saved), f"stealing-{name}": curves_drawn(title, saved.rows)}
    paths = []
    for stem, figure in made.items():
        if figure is not None:
            own = [drawable(folder / f"{stem}{suffix}") for suffix in suffixes]
            for path in own:
                write_figure(figure, path)
            paths += own
    return paths


def roc_of(saved: SavedResult) -> Figure | None:
    """Return the ROC curves of all attacks with saved scores, None where there are none."""
    evidence, curves = saved.evidence(), []
    for label, rows in saved.labelled().items():
        one = evidence.get((rows[0].attack, rows[0].params))
        if one is not None and min(len(one.members), len(one.non_members)) > 1:
            curves.append(replace(one, label=label))
    doubt = next((row.reason for row in saved.rows if row.status == "suspect"), None)
    return roc_drawn(f"{saved.entry.id} on {saved.entry.dataset}", curves, doubt=doubt) if curves else None
