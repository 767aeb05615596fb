"""Project: a research project that offers weights and has not been annotated model by model, a line of config `projects`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from securitynet.errors import DataError
from securitynet.importers.markdown import TableRow
from securitynet.importers.released import ORIGIN, link_of
from securitynet.schema import column, dtypes_of, features_of

if TYPE_CHECKING:
    import datasets


CLASSIFIED = ("subject", "is_classifier", "has_weights", "checkpoints", "route", "why_not", "entries", "licence", "remark")


@dataclass(frozen=True, kw_only=True)
class Project:
    """One project as a release lists it, with mended links; `record` keeps what was printed."""

    title: str = column("string", "title of the paper", "")
    venue: str | None = column("string", "CVPR, NeurIPS, ...")
    venue_type: str | None = column("string", "community of the venue: CV, ML, Security")
    year: int | None = column("int64", "year of the paper")
    paper_url: str | None = column("string", "link to the paper; null where the release gives none (see flags)")
    weights_url: str | None = column("string", "link to the project that offers the weights")
    note: str | None = column("string", "remark of the release")
    subject: str | None = column("string", "what its models do")
    is_classifier: str | None = column("string", "whether they are image classifiers: yes, partly or no")
    has_weights: str | None = column("string", "whether weights of classifiers are public: yes, partial, unclear or no")
    checkpoints: int | None = column("int64", "public checkpoints of classifiers that were counted")
    route: str | None = column("string", "how they can be loaded: a library, a library and a renaming of keys, or the project's own code")
    why_not: str | None = column("string", "why they are not among the models")
    entries: tuple[str, ...] | None = column("list:string", "ids of config `models` that come from it, as globs")
    licence: str | None = column("string", "licence of the project, SPDX where possible")
    remark: str | None = column("string", "what else is known about its weights")
    flags: tuple[str, ...] | None = column("list:string", "paper_link_is_code, bad_url, no_weights")
    origin: str | None = column("string", "release that lists it")
    record: str | None = column("json", "the released row as JSON, every cell as printed")

    def classified_as(self, known: Mapping[str, Any]) -> Project:
        """Return the project with what a record of it knows beyond the release."""
        found: dict[str, Any] = {name: known.get(name) for name in CLASSIFIED}
        found["entries"] = tuple(found["entries"]) if found["entries"] is not None else None
        return replace(self, **found)

    def to_record(self) -> dict[str, Any]:
        """Return the project as a JSON object with every column present, lists for tuples."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def projects_of(rows: Iterable[TableRow]) -> list[Project]:
    """Return the projects of a released table. Raises DataError with the line of a row without a link to the project."""
    return [_project(row) for row in rows]


def _project(row: TableRow) -> Project:
    cells = row.cells
    paper, weights = mended(link_of(cells["Paper Link"])), mended(link_of(cells["Weights"]))
    if weights is None or not cells["Year"].isdecimal():
        column_ = "Year" if weights else "Weights"
        raise DataError(f"line {row.line}: {column_} is {cells[column_]!r}, not a {'whole number' if weights else 'link'}")
    flags = {
        "bad_url": paper is None,
        "no_weights": cells["Note"] in ("no model", "no weights"),
        "paper_link_is_code": paper == weights,
    }
    return Project(
        title=cells["Title"],
        venue=cells["Conference"],
        venue_type=cells["Conference Type"],
        year=int(cells["Year"]),
        paper_url=None if paper == weights else paper,
        weights_url=weights,
        note=cells["Note"] or None,
        flags=tuple(name for name, applies in flags.items() if applies) or None,
        origin=ORIGIN,
        record=json.dumps(dict(cells), ensure_ascii=False),
    )


def mended(url: str | None) -> str | None:
    """Return an address without what a browser or git adds to it, and over https where the host is known to speak it."""
    if url is None:
        return None
    url = re.sub(r"^http://(?=(www\.)?(arxiv\.org|github\.com)/)", "https://", url)
    url = re.sub(r"^https://www\.github\.com/", "https://github.com/", url)
    return re.sub(r"(\?tab=[\w-]+|\?context=\w+|\.git)$", "", url)


def features() -> datasets.Features:
    """Return the `datasets.Features` of config `projects`."""
    return features_of(dtypes_of(Project))
