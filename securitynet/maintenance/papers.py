"""Papers of the catalog: the columns of the models that repeat them, and what a sound table of papers keeps to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from securitynet.entry import Entry
from securitynet.maintenance import records
from securitynet.maintenance.records import Record
from securitynet.paper import ARXIV, COLUMNS, FACTS, VENUES, Paper, derived

DATE = re.compile(r"(\d{4})-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?")
ARXIV_ID = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d\d)(\d\d)\.\d{4,5}")
MISSING = "not found in "
LONGEST = 600  # characters of a passage
UNREAD = "unread.jsonl"


def papers_of(catalog: Path) -> dict[str, Paper]:
    """Return the papers of a catalog folder by address."""
    files = sorted((catalog / "papers").glob("*.jsonl"), key=lambda path: path.name != UNREAD)  # what was read goes before
    return {paper.url: paper for path in files for paper in map(Paper.from_record, records.read(path))}


def write_derived(catalog: Path) -> list[Path]:
    """Write what the models repeat of their papers, with every column in order; return the files that changed.

    Papers that a model cites and nobody has read get a record without facts in papers/unread.jsonl.
    """
    files = sorted((catalog / "models").glob("*.jsonl"))
    cited: dict[str, str] = {}
    for path in files:  # a line at a time: an import of the Hub has many
        for record in records.each(path):
            if record.get("paper_url"):
                cited.setdefault(str(record["paper_url"]), str(record["id"]))
    changed = _write_unread(catalog, cited)
    papers = papers_of(catalog)
    for path in files:
        old = path.read_text(encoding="utf-8").splitlines(keepends=True)
        new = [records.line_of(derived(Entry.from_record(record).to_record(), papers)) for record in records.each(path)]
        changed += [path] if new != old and records.write_changed(path, "".join(new)) else []
    return changed


def _write_unread(catalog: Path, cited: Mapping[str, str]) -> list[Path]:
    path = catalog / "papers" / UNREAD
    read = {record["url"] for other in (catalog / "papers").glob("*.jsonl") if other != path for record in records.read(other)}
    new = [_unread(url, cited[url]).to_record() for url in sorted(cited.keys() - read)]
    if not new and not path.exists():
        return []
    if not new:
        path.unlink()
        return [path]
    path.parent.mkdir(exist_ok=True)
    return [path] if records.write_changed(path, records.text_of(new)) else []


def _unread(url: str, entry: str) -> Paper:
    evidence = {fact: {"address": url, "passage": f"{MISSING}the record of {entry}, which cites it; not read yet"} for fact in FACTS}
    return Paper(url=url, sources=json.dumps(evidence, ensure_ascii=False))


def unsound_papers(lines: Iterable[tuple[str, Record]]) -> Iterator[str]:
    """Yield what is wrong with the papers, each with where it stands: evidence, venues, dates; two facts for one paper."""
    first: dict[tuple[str, str], tuple[Any, str]] = {}
    for where, record in lines:
        paper = Paper.from_record(record)
        yield from (f"{where}: {problem}" for problem in (*_evidence(paper), *_countries(paper), *_venue(paper), *_dates(paper)))
        for fact in FACTS[1:] if paper.title else ():
            value = getattr(paper, fact)
            other, place = first.setdefault((_plain(paper.title or ""), fact), (value, where)) if value is not None else (None, where)
            if other != value:
                yield f"{where}: {fact} {value!r} of {paper.title!r}, which {place} has as {other!r}"


def strayed(where: str, record: Record, papers: Mapping[str, Paper]) -> Iterator[str]:
    """Yield what a model says of its paper that the paper's record does not, and a model without a paper or a reason for it."""
    if record["paper_url"] is None and not record["paper_reason"]:
        yield f"{where}: names no paper, and paper_reason does not say why"
    if record["paper_url"] is not None and record["paper_reason"]:
        yield f"{where}: paper_reason says why there is no paper, and there is one"
    if record["paper_url"] is not None and record["paper_url"] not in papers:
        yield f"{where}: paper_url {record['paper_url']!r} is no key of config papers"
    kept = derived(record, papers)
    for name in COLUMNS:
        if kept[name] != record[name]:
            yield f"{where}: {name} {record[name]!r} is not its paper's {kept[name]!r}: run `securitynet catalog build`"


def _evidence(paper: Paper) -> Iterator[str]:
    """Every fact has the address and the passage it was read from, every null says what was searched."""
    try:
        evidence = json.loads(paper.sources or "{}")
    except ValueError:
        evidence = None
    if not isinstance(evidence, dict) or set(evidence) != set(FACTS):
        yield f"sources must be a JSON object with {', '.join(FACTS)}"
        return
    for fact, source in evidence.items():
        if (
            not isinstance(source, dict)
            or set(source) != {"address", "passage"}
            or not all(isinstance(one, str) and one for one in source.values())
        ):
            yield f"sources: {fact} needs an address and a passage"
        elif getattr(paper, fact) is None and not source["passage"].startswith(MISSING):
            yield f"{fact} is null, and sources does not say `{MISSING}...`"
        elif getattr(paper, fact) is not None and source["passage"].startswith(MISSING):
            yield f"{fact} is {getattr(paper, fact)!r}, which sources says was {source['passage']}"
        elif len(source["passage"]) > LONGEST:
            yield f"sources: the passage of {fact} is longer than {LONGEST} characters"


def _countries(paper: Paper) -> Iterator[str]:
    """Countries follow from institutions. A table of models that states a country (`Country ...`) may mean who published the weights."""
    read = _said(paper, "countries")
    stated = read.startswith("Country ") and ("," in read or paper.num_authors in (None, 1))
    if paper.countries and not paper.affiliations and not stated:
        yield f"countries {list(paper.countries)} without the affiliations that they follow from: read {read!r}"
    if paper.countries is not None and list(paper.countries) != sorted(set(paper.countries)):
        yield f"countries {list(paper.countries)} are not sorted, or one stands there twice"


def _said(paper: Paper, fact: str) -> str:
    """The passage of a fact; nothing where the evidence is no such JSON, which is reported elsewhere."""
    try:
        found = json.loads(paper.sources or "{}")[fact]["passage"]
    except (ValueError, LookupError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _venue(paper: Paper) -> Iterator[str]:
    if paper.venue is None:
        return
    venue = VENUES.get(paper.venue)
    if venue is None:
        yield f"venue {paper.venue!r} is none of {', '.join(VENUES)}"
    elif paper.venue_type != venue.kind:
        yield f"venue_type {paper.venue_type!r} of {paper.venue} must be {venue.kind!r}"
    elif paper.year is not None and venue.years != "every" and (paper.year % 2 == 0) != (venue.years == "even"):
        yield f"{paper.venue} {paper.year} never took place: it is held in {venue.years} years"


def _dates(paper: Paper) -> Iterator[str]:
    """The paper was on arXiv before its venue was over, and since the month that its number states."""
    date = DATE.fullmatch(paper.arxiv_date or "")
    if paper.arxiv_date is not None and date is None:
        yield f"arxiv_date {paper.arxiv_date!r} is no date YYYY-MM or YYYY-MM-DD"
    number = ARXIV_ID.search(paper.url)
    if date is None:
        return
    year, month = int(date[1]), int(date[2])
    if number and (year, month) not in _months(int(number[1]) + 2000, int(number[2])):
        yield f"arxiv_date {paper.arxiv_date} is not the month that the number of {paper.url} states"
    venue = VENUES.get(paper.venue or "", VENUES[ARXIV])
    if paper.year is not None and (year, month) > (paper.year, venue.other.get(paper.year, venue.month or 12)):
        yield f"{paper.venue} {paper.year} was over before the paper's own arXiv date {paper.arxiv_date}"
    if paper.venue == ARXIV and paper.year not in (None, year):
        yield f"year {paper.year} of a preprint is not that of its arXiv date {paper.arxiv_date}"


def _months(year: int, month: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The month of a number, and the one before: a paper submitted on the last days of a month gets the number of the next."""
    return (year, month), (year, month - 1) if month > 1 else (year - 1, 12)


def _plain(title: str) -> str:
    return re.sub(r"[^a-z0-9]", "", title.casefold())
