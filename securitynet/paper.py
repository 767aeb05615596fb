"""Paper: the record of one publication, a line of config `papers`; entries refer to it by its address.

Every fact carries the address of the text it was read from and the passage; a fact that a text does not give is null, and the text
that was searched is named. Venues, their kinds and the months they are held in stand here once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from securitynet.entry import typed
from securitynet.errors import UsageError, unknown
from securitynet.schema import column, dtypes_of

FACTS = ("title", "num_authors", "countries", "venue", "year", "arxiv_date")
ARXIV = "arXiv"


class Venue(NamedTuple):
    """A place of publication: its kind; the month in which a conference ends, years with another, the years it is held in."""

    kind: str
    month: int | None = None
    other: Mapping[int, int] = {}
    years: str = "every"


VENUES: Mapping[str, Venue] = {
    "AAAI": Venue("ML", 2, {2022: 3}),
    "ACC": Venue("control", 7),
    "AISTATS": Venue("ML", 5),
    "arXiv": Venue("arXiv"),
    "BMVC": Venue("CV", 11),
    "Computational Visual Media": Venue("CV"),
    "CVPR": Venue("CV", 6, {2016: 7, 2017: 7}),
    "CVPR Findings": Venue("CV", 6),
    "CVPR workshop": Venue("CV", 6, {2016: 7, 2017: 7}),
    "ECCV": Venue("CV", 10, years="even"),
    "ECCV workshop": Venue("CV", 10, years="even"),
    "ECML PKDD": Venue("ML", 9),
    "GitHub": Venue("software"),
    "ICCV": Venue("CV", 10, {2013: 12, 2015: 12, 2019: 11}, years="odd"),
    "ICIP": Venue("CV", 10),
    "ICLR": Venue("ML", 5),
    "ICLR workshop": Venue("ML", 5),
    "ICML": Venue("ML", 7),
    "ICML workshop": Venue("ML", 7),
    "IJCNN": Venue("ML", 7),
    "IJCV": Venue("CV"),
    "Image and Vision Computing": Venue("CV"),
    "MIDL": Venue("medical imaging", 7),
    "NDSS": Venue("Security", 3),
    "NeurIPS": Venue("ML", 12),
    "NeurIPS workshop": Venue("ML", 12),
    "OpenReview": Venue("preprint"),
    "Pattern Recognition": Venue("CV"),
    "S&P workshop": Venue("Security", 5),
    "Scientific Data": Venue("journal"),
    "SaTML": Venue("Security", 4),
    "SIGGRAPH": Venue("graphics", 8),
    "SIMODS": Venue("ML"),
    "TCSVT": Venue("CV"),
    "TMLR": Venue("ML"),
    "TNNLS": Venue("ML"),
    "TPAMI": Venue("CV"),
    "UAI": Venue("ML", 8),
    "WACV": Venue("CV", 3),
}


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One publication: what its own text and the proceedings say of it."""

    url: str = column("string", "unique key: its address, as entries give it in `paper_url`", "")
    title: str | None = column("string", "title as published")
    num_authors: int | None = column("int64", "authors")
    affiliations: tuple[str, ...] | None = column("list:string", "institutions of the authors, as the text names them")
    countries: tuple[str, ...] | None = column(
        "list:string", "countries of those institutions, sorted: as printed, else the institution's seat"
    )
    venue: str | None = column("string", "where it was published: CVPR, NeurIPS, TPAMI, ...; arXiv where it is a preprint only")
    venue_type: str | None = column("string", "kind of that venue: CV, ML, Security, arXiv, ...")
    year: int | None = column("int64", "year of the venue (of the first version on arXiv for a preprint)")
    arxiv_date: str | None = column("string", "first version on arXiv: YYYY-MM-DD, or YYYY-MM where only its number was read")
    sources: str | None = column(
        "string", "JSON: for each fact the `address` it was read from and the `passage`; for a null what was searched"
    )

    @property
    def evidence(self) -> dict[str, dict[str, str]]:
        """Return address and passage by fact."""
        found: dict[str, dict[str, str]] = json.loads(self.sources or "{}")
        return found

    def to_record(self) -> dict[str, Any]:
        """Return the paper as a JSON object with every column present, lists for tuples."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Paper:
        """Return the paper of a JSON object; columns that it lacks take their default. Raises UsageError naming record and column."""
        label = record.get("url") or "paper without an address"
        known = dtypes_of(cls)
        for key in record:
            if key not in known:
                raise UsageError(f"{label}: {unknown('column', key, known)}")
        return cls(**{key: typed(str(label), key, known[key], value) for key, value in record.items()})


COLUMNS: Mapping[str, str] = {  # of an entry, and the column of its paper that each repeats
    "paper_title": "title",
    "venue": "venue",
    "venue_type": "venue_type",
    "year": "year",
    "countries": "countries",
    "num_authors": "num_authors",
}


UNNAMED = "no paper was named when the record was made"


def derived(record: Mapping[str, Any], papers: Mapping[str, Paper]) -> dict[str, Any]:
    """Return an entry's record with the columns that repeat its paper's as `papers` (by address) has them.

    Without a paper they are null, and `paper_reason` says why; with one it is null. An address that is not among the papers leaves
    the record as it is.
    """
    url = record.get("paper_url")
    paper = papers.get(url) if url else None
    if url and paper is None:
        return dict(record)
    facts = {name: getattr(paper, column, None) for name, column in COLUMNS.items()}
    facts["paper_reason"] = None if url else record.get("paper_reason") or UNNAMED
    return {**record, **{name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}}
