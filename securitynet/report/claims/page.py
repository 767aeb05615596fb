"""The page of the claims: one self-contained file, and the figures beside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from securitynet.report.claims.drawn import forest
from securitynet.report.claims.shown import effect, facts, number, probability
from securitynet.report.claims.study import METHODS, TITLE, Study
from securitynet.report.figures import study as study_figures
from securitynet.report.figures.roc import drawable, write_figure
from securitynet.report.findings.released_tables import ORIGIN
from securitynet.report.measure_table import measure_table, published_rows
from securitynet.report.page.html import write_html
from securitynet.results.row import Row

COLOURS = {"confirmed": "good", "refuted": "bad", "cannot be tested": "soft"}


def write_study(study: Study, folder: Path, rows: Sequence[Row] | None = None) -> tuple[Study, list[Path]]:
    """Write index.html and figures/ into `folder`; return the study, whose verdicts name their figures, and the paths.

    `figures` holds one figure per claim that has a number and the four of the study, from `rows` (without, from the released ones). Raises
    UsageError where matplotlib is not installed.
    """
    drawn = {one.claim.id: figure for one in study.verdicts if (figure := forest(one)) is not None}
    paths = {id: drawable(folder / "figures" / f"{id}.svg") for id in drawn}
    for id, path in paths.items():
        write_figure(drawn[id], path)
    study = replace(study, verdicts=tuple(replace(one, figure=_name(paths.get(one.claim.id))) for one in study.verdicts))
    others = study_figures.draw(measure_table(published_rows(ORIGIN) if rows is None else rows), folder / "figures", (".svg",))
    pictures = {path.stem: _uri(path) for path in (*paths.values(), *others)}
    page = write_html(
        folder / "index.html", "paper.html.j2", study=study, title=TITLE, methods=METHODS, pictures=pictures, colours=COLOURS,
        others=[path.stem for path in others], effect=effect, facts=facts, number=number, probability=probability,
    )  # fmt: skip
    return study, [page, *paths.values(), *others]


def _name(path: Path | None) -> str | None:
    return None if path is None else f"figures/{path.name}"


def _uri(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
