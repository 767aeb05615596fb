"""What differs between two states of the catalog: records that came, went, got another id, or say something else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet.catalog import CONFIGS
from securitynet.errors import UsageError, shown
from securitynet.maintenance.card import files_of
from securitynet.maintenance.check import KEYS
from securitynet.maintenance.records import Record, read

MOST, LONGEST = 20, 60  # records of one kind, characters of a value that are shown
NAMES = {"results": ("entry", "metric", "origin")}  # what a person knows a record by, where its key is a hash


@dataclass(frozen=True)
class RecordDifference:
    """One config: keys of records that came and went, new ids by old one, and columns that changed: key to column to (old, new).

    A column that only one of the two states has counts where it says something. `names`: how records are called, by key.
    """

    config: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: Mapping[str, str]
    changed: Mapping[str, Mapping[str, tuple[Any, Any]]]
    names: Mapping[str, str]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.renamed or self.changed)


def compare(old: Path, new: Path) -> list[RecordDifference]:
    """Return what differs between two catalog folders, config by config. Raises UsageError where one holds no records, DataError."""
    for folder in (old, new):
        if not any(files_of(folder, config) for config in CONFIGS):
            raise UsageError(f"{folder}: no catalog, it holds no {CONFIGS[0]}/*.jsonl")
    return [_compared(config, _records(old, config), _records(new, config)) for config in CONFIGS]


def _records(folder: Path, config: str) -> dict[str, Record]:
    return {str(record[KEYS[config]]): record for path in files_of(folder, config) for record in read(path)}


def _compared(config: str, old: dict[str, Record], new: dict[str, Record]) -> RecordDifference:
    former = {alias: key for key, record in new.items() for alias in record.get("aliases") or () if alias in old and alias not in new}
    pairs = {key: key for key in old.keys() & new.keys()} | former
    changed = {after: found for before, after in sorted(pairs.items()) if (found := _columns(old[before], new[after]))}
    gone = old.keys() - pairs.keys()
    came = new.keys() - set(pairs.values())
    words = NAMES.get(config)
    called = {} if words is None else {key: " ".join(str(one.get(word)) for word in words) for key, one in {**old, **new}.items()}
    return RecordDifference(config, tuple(sorted(came)), tuple(sorted(gone)), former, changed, called)


def _columns(old: Record, new: Record) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (old.get(name), new.get(name)) for name in dict.fromkeys((*old, *new))}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def lines(differences: list[RecordDifference], most: int = MOST) -> Iterator[str]:
    """Yield the differences as lines for a person: for each config numbers, then at most `most` records of each kind."""
    for one in differences:
        if one.is_empty:
            yield f"{one.config}: nothing differs"
            continue
        counts = {"added": one.added, "removed": one.removed, "renamed": one.renamed, "changed": one.changed}
        yield f"{one.config}: " + ", ".join(f"{len(some):,} {what}" for what, some in counts.items() if some)
        columns = Counter(column for pairs in one.changed.values() for column in pairs)
        if columns:
            yield "  columns: " + ", ".join(f"{column} {count:,}" for column, count in columns.most_common())
        yield from _some((f"  + {_called(one, key)}" for key in one.added), len(one.added), most)
        yield from _some((f"  - {_called(one, key)}" for key in one.removed), len(one.removed), most)
        yield from _some((f"  {shown(old)} is {shown(new)} now" for old, new in sorted(one.renamed.items())), len(one.renamed), most)
        yield from _some((f"  ~ {_called(one, key)}: {_pairs(pairs)}" for key, pairs in one.changed.items()), len(one.changed), most)


def _some(texts: Iterator[str], count: int, most: int) -> Iterator[str]:
    for _, text in zip(range(most), texts, strict=False):
        yield text
    if count > most:
        yield f"    and {count - most:,} more (--all)"


def _called(one: RecordDifference, key: str) -> str:
    return shown(one.names.get(key, key))


def _pairs(pairs: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{column} {_value(old)} -> {_value(new)}" for column, (old, new) in pairs.items())


def _value(value: Any) -> str:
    return shown(json.dumps(value, ensure_ascii=False), LONGEST)
