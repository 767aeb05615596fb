"""The importer of the table that Zhang et al. released with SecurityNet (USENIX Security 2024), `Database/README.MD`.

It writes their measurements as rows of config `results` and their list of projects as config `projects`, and fills what the
catalog's entries do not say yet about the models. It can run again: what has not changed is not touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from securitynet.entry import Entry
from securitynet.errors import DataError, UsageError
from securitynet.importers.derived import annotations_of, rows_of
from securitynet.importers.known_errors import flags_of
from securitynet.importers.markdown import tables
from securitynet.importers.numeric_columns import CELLS
from securitynet.importers.project import Project, projects_of
from securitynet.importers.released import ORIGIN, Model, models_of
from securitynet.maintenance import records
from securitynet.maintenance.papers import papers_of
from securitynet.maintenance.records import Record
from securitynet.paper import derived

SECURITY_COLUMNS = (
    "Model Name", "Model Type", "Data Name", "Data Category", "Num Class", "Training Size",
    *(cell.column for cell in CELLS if cell.preset in (None, "base")),
    "Conference", "Conference Type", "Year", "Country", "Num Authors", "Purpose", "Paper Link", "Weights",
)  # fmt: skip
BENCHMARK_COLUMNS = (*SECURITY_COLUMNS, *(cell.column for cell in CELLS if cell.column not in SECURITY_COLUMNS))
PROJECT_COLUMNS = ("Title", "Conference", "Conference Type", "Year", "Paper Link", "Weights", "Note")
HEADINGS = {"Benchmark Models": "benchmark", "Security Research Models": "security"}
PROJECTS = "New Models"


@dataclass(frozen=True)
class Changes:
    """How many records of one kind are new, different, the same and gone."""

    added: int
    changed: int
    unchanged: int
    removed: int

    @classmethod
    def between(cls, old: Mapping[str, Record], new: Mapping[str, Record]) -> Changes:
        """Compare records by key."""
        same = sum(old[key] == record for key, record in new.items() if key in old)
        return cls(len(new.keys() - old.keys()), len(new.keys() & old.keys()) - same, same, len(old.keys() - new.keys()))


@dataclass(frozen=True)
class ImportReport:
    """What an import found (`released`: rows by table; `missing`: cells without a measurement; `flags`) and what it changed."""

    released: Mapping[str, int]
    missing: Mapping[str, int]
    flags: Mapping[str, int]
    rows: Changes
    entries: Changes
    projects: Changes
    files: tuple[str, ...]


def import_table(readme: Path, catalog: Path) -> ImportReport:
    """Bring the released table at `readme` into the catalog folder; nothing is written unless all of it can be read.

    Writes results/zhang2024.jsonl and projects/zhang2024.jsonl, and fills columns of entries in models/*.jsonl that are null.
    Raises DataError with the line number where the table is malformed or a row has no entry, UsageError without the file.
    """
    models, projects = _read(readme)
    rows = [row.to_record() for model in models for row in rows_of(model)]
    before, after = _entries(catalog, models)
    results, listed = catalog / "results" / f"{ORIGIN}.jsonl", catalog / "projects" / f"{ORIGIN}.jsonl"
    old_rows, old_projects = records.read(results), records.read(listed)
    known = _keyed(old_projects, "title")
    new_projects = [project.classified_as(known.get(project.title, {})).to_record() for project in projects]
    texts = {path: records.text_of(entries) for path, entries in after.items()}
    texts |= {results: records.text_of(rows), listed: records.text_of(new_projects)}
    written = [path for path, text in texts.items() if records.write_changed(path, text)]
    return ImportReport(
        released={**Counter(model.table for model in models), "projects": len(projects)},
        missing=_missing(models),
        flags=dict(Counter([flag.name for model in models for flag in flags_of(model)] + [one for p in projects for one in p.flags or ()])),
        rows=Changes.between(_keyed(old_rows, "row_id"), _keyed(rows, "row_id")),
        entries=Changes.between(_joined(before, models), _joined(after, models)),
        projects=Changes.between(_keyed(old_projects, "title"), _keyed(new_projects, "title")),
        files=tuple(sorted(path.relative_to(catalog).as_posix() for path in written)),
    )


def _read(readme: Path) -> tuple[list[Model], list[Project]]:
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{readme}: {getattr(error, 'strerror', None) or 'not a text file'}") from error
    wanted = {"Benchmark Models": BENCHMARK_COLUMNS, "Security Research Models": SECURITY_COLUMNS, PROJECTS: PROJECT_COLUMNS}
    found = tables(text, wanted)
    models = [model for heading, table in HEADINGS.items() for model in models_of(table, found[heading])]
    lines: dict[str, int] = {}
    for model in models:
        if model.entry in lines:
            raise DataError(f"line {model.line}: {model.entry} stands on line {lines[model.entry]} already")
        lines[model.entry] = model.line
    return models, projects_of(found[PROJECTS])


def _entries(catalog: Path, models: Iterable[Model]) -> tuple[dict[Path, list[Record]], dict[Path, list[Record]]]:
    """Return the files of models that the table is about, as they are and with what it adds."""
    before: dict[Path, list[Record]] = {}
    after: dict[Path, list[Record]] = {}
    places: dict[str, tuple[Path, int]] = {}
    papers = papers_of(catalog)
    for model in models:
        path = catalog / "models" / f"{model.entry.partition('/')[0]}.jsonl"
        if path not in before:
            before[path] = records.read(path)
            after[path] = list(before[path])
            places |= {record["id"]: (path, index) for index, record in enumerate(before[path])}
        if model.entry not in places:
            raise DataError(f"line {model.line}: {model.cells['Model Name']} is {model.entry}, which models/{path.name} does not have")
        _, index = places[model.entry]
        after[path][index] = derived(_filled(before[path][index], model), papers)
    return before, after


def _filled(record: Record, model: Model) -> Record:
    """Return the record with its null columns filled; what it says already stays."""
    known = {key: value for key, value in annotations_of(model).items() if record.get(key) is None}
    try:
        return Entry.from_record({**record, **known}).to_record()
    except UsageError as error:
        raise DataError(f"line {model.line}: {error}") from error


def _missing(models: Iterable[Model]) -> dict[str, int]:
    cells = [(model, cell) for model in models for cell in CELLS if cell.column in model.cells]
    return dict(Counter(f"{model.table}: {cell.column}" for model, cell in cells if model.value(cell) is None))


def _keyed(found: Sequence[Record], key: str) -> dict[str, Record]:
    return {record[key]: record for record in found}


def _joined(files: Mapping[Path, Sequence[Record]], models: Iterable[Model]) -> dict[str, Record]:
    ids = {model.entry for model in models}
    return {record["id"]: record for found in files.values() for record in found if record["id"] in ids}
