"""Importers of what an installed library states about its published weights; the name of a module is the name of the source.

Each module has `facts() -> Iterator[Record]`: the columns that the library states, `id` among them. What it does not state (a paper's
venue, the flags of a release) stays in the catalog's files as it is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from securitynet.entry import Entry
from securitynet.errors import LoadError, unknown
from securitynet.importers.onhub.pins import reconciled
from securitynet.maintenance import records
from securitynet.maintenance.papers import papers_of
from securitynet.maintenance.records import Record
from securitynet.paper import derived

WITHDRAWN = "withdrawn"  # flag of a model that its library does not list any more


@dataclass(frozen=True)
class PackageReport:
    """What an import changed: ids that are new, that the library no longer lists, that say something else (with the columns)."""

    source: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: dict[str, tuple[str, ...]]
    unchanged: int
    written: bool


def names() -> list[str]:
    """Return the sources that can be imported from an installed library."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def import_package(source: str, catalog: Path) -> PackageReport:
    """Bring models/SOURCE.jsonl up to what the installed library states; the same library again changes no byte.

    A fact that the library does not state stays, and so does a model that it no longer lists, with the flag `withdrawn`.
    Raises UsageError for an unknown source, LoadError where the library is not installed.
    """
    if source not in names():
        raise unknown("source", source, names())
    try:
        stated = {fact["id"]: fact for fact in importlib.import_module(f"{__name__}.{source}").facts()}
    except ImportError as error:
        raise LoadError(f"{source} is not installed; pip install {source}") from error
    return bring(source, stated, catalog)


def bring(source: str, stated: Mapping[str, Record], catalog: Path) -> PackageReport:
    """Bring models/SOURCE.jsonl up to what the source states of its models, by id, as `import_package` does."""
    path = catalog / "models" / f"{source}.jsonl"
    old = {record["id"]: record for record in records.read(path)}
    papers = papers_of(catalog)
    new = {id: derived(_merged(old.get(id, {}), stated.get(id)), papers) for id in sorted(old.keys() | stated.keys())}
    changed = {id: _differing(old[id], record) for id, record in new.items() if id in old and old[id] != record}
    removed = tuple(id for id, columns in changed.items() if id not in stated and "flags" in columns)
    return PackageReport(
        source=source,
        added=tuple(sorted(new.keys() - old.keys())),
        removed=removed,
        changed={id: columns for id, columns in changed.items() if id not in removed},
        unchanged=len(old) - len(changed),
        written=records.write_changed(path, records.text_of(new.values())),
    )


def _merged(old: Record, stated: Record | None) -> Record:
    """What the library states goes before what was there; what it leaves open stays, and so does a pin of the file that it names."""
    flags = [flag for flag in old.get("flags") or () if flag != WITHDRAWN]
    if stated is None:
        return Entry.from_record({**old, "flags": [*flags, WITHDRAWN]}).to_record()
    old, stated = reconciled(old, stated)
    built = {"architecture"} if old.get("loader") and "loader" not in stated else set()  # a name of the library that a loader does not know
    known = {key: value for key, value in stated.items() if value is not None and key not in built}
    return Entry.from_record({**old, "flags": flags or None, **known}).to_record()


def _differing(old: Record, new: Record) -> tuple[str, ...]:
    return tuple(key for key in new if old.get(key) != new[key])
