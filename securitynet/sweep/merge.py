"""Joining the directories of sweeps, such as those of shards; rows are read a job at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.errors import SecurityNetError, UsageError
from securitynet.results.row import SCHEMA, Row
from securitynet.results.store import Batch, Contents, read
from securitynet.results.store.journal import packed
from securitynet.results.store.lines import row_of
from securitynet.sweep import state
from securitynet.sweep.status import shards

MAY_DIFFER = ("seconds", "peak_memory", "date")
COMPARED = tuple(column.name for column in fields(Row) if column.name not in (*MAY_DIFFER, "versions", "processes", "device"))
SHOWN = 5
HEAD, PRESENT = b'{"row_id": "', f'"schema": {SCHEMA},'.encode()  # of a line as it is written today
DIGITS = 16  # of an id, by which rows are looked for that stand more than once; these are then compared by the whole id

Lines = Callable[[], bytes]


@dataclass(frozen=True)
class Merged:
    """What was joined: where it is, how many rows and jobs, how many failures another shard made good, and what is damaged."""

    folder: Path
    rows: int
    jobs: int
    made_good: int
    damage: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    """A batch that is taken over, and the directory where it stands."""

    contents: Contents
    batch: Batch

    @property
    def place(self) -> tuple[str, int, int]:
        """What batches are sorted by."""
        return self.batch.line["entry"], self.batch.line["seed"], self.batch.n

    def records(self) -> list[tuple[bytes, str]]:
        """Each line with the id of its row, as that is computed today."""
        lines = self.contents.records(self.batch)
        present = all(line.startswith(HEAD) and PRESENT in line for line in lines)
        return [(line, line[len(HEAD) : len(HEAD) + 64].decode() if present else row_of(line).row_id) for line in lines]


def merge(folders: Sequence[Path], output: Path) -> Merged:
    """Join sweeps into `output`, which then is the directory of a sweep too. Every digest is read; what is damaged does not count.

    A job that failed in one and was measured in another counts as measured. Raises SecurityNetError, and writes nothing, where
    the same row has different values; UsageError where the sweeps do not share their settings, or are still running.
    """
    parts = list(dict.fromkeys(part.resolve() for folder in folders for part in shards(folder)))
    heads = _heads(parts)
    found = [read(part, thorough=True) for part in parts]
    damage = [(f"{part}: {one}", one.contradicts) for part, contents in zip(parts, found, strict=True) for one in contents.damage]
    if contradictions := [text for text, contradicts in damage if contradicts]:
        raise SecurityNetError(f"the same key has different values, nothing was written: {'; '.join(contradictions[:SHOWN])}")
    batches = [_Part(contents, batch) for contents in found for batch in contents.batches]
    good = {one.batch.job for one in batches if one.batch.line["status"] != "failed"}
    kept = sorted(_kept(batches, good), key=lambda one: one.place)
    repeated = _repeated(kept)
    _compare(kept, repeated)
    jobs = sum(head["jobs"] for part, head in zip(parts, heads, strict=True) if part != output.resolve() or len(parts) == 1)
    lines = list(_once(kept, repeated))
    _write(output, heads, jobs, lines)
    made_good = {one.batch.job for one in batches if one.batch.line["status"] == "failed"} & good
    rows = sum(line["rows"]["count"] for line, _ in lines)
    return Merged(output, rows, len({one.batch.job for one in kept}), len(made_good), tuple(text for text, _ in damage))


def _heads(parts: Sequence[Path]) -> list[dict[str, Any]]:
    heads = [state.read_head(part) for part in parts]
    for part, head in zip(parts, heads, strict=True):
        if head["binding"] != heads[0]["binding"]:
            raise UsageError(f"{part} and {parts[0]} were made with different settings: {head['binding']} and {heads[0]['binding']}")
        if state.is_running(part):
            raise UsageError(f"{part}: a sweep still works on it; merge when it has ended")
    return heads


def _kept(batches: Sequence[_Part], good: set[str]) -> Iterator[_Part]:
    """Measurements; of a job that failed everywhere the first directory's failure."""
    first = {one.batch.job: one.contents for one in reversed(batches)}
    for one in batches:
        job = one.batch.job
        if one.batch.line["status"] != "failed" if job in good else first[job] is one.contents:
            yield one


def _repeated(kept: Sequence[_Part]) -> dict[int, int]:
    """How often each id stands that stands more than once, by its first digits."""
    if not kept:
        return {}
    found = [np.asarray([_short(row_id) for _, row_id in one.records()], np.uint64) for one in kept]
    ids, counts = np.unique(np.concatenate(found), return_counts=True)
    several = counts > 1
    return dict(zip(ids[several].tolist(), counts[several].tolist(), strict=True))


def _short(row_id: str) -> int:
    return int(row_id[:DIGITS], 16)


def _compare(kept: Sequence[_Part], repeated: Mapping[int, int]) -> None:
    """Raise SecurityNetError where two rows of the same key say different things."""
    left, known, conflicts = dict(repeated), dict[str, bytes](), list[str]()
    for one in kept if repeated else ():
        for line, row_id in one.records():
            if (short := _short(row_id)) not in left:
                continue
            if (other := known.setdefault(row_id, line)) != line:
                conflicts += _conflict(row_of(other), row_of(line))
            left[short] -= 1
            if not left[short]:  # no further row has it
                del left[short], known[row_id]
    if conflicts:
        more = f"; and {len(conflicts) - SHOWN} more" if len(conflicts) > SHOWN else ""
        raise SecurityNetError(f"the same key has different values, nothing was written: {'; '.join(conflicts[:SHOWN])}{more}")


def _conflict(one: Row, other: Row) -> list[str]:
    differing = [
        f"{name} {getattr(one, name)!r} and {getattr(other, name)!r}" for name in COMPARED if getattr(one, name) != getattr(other, name)
    ]
    return [f"{other.entry} seed {other.seed} {other.attack} {other.params} {other.metric}: {', '.join(differing)}"] if differing else []


def _once(kept: Iterable[_Part], repeated: Mapping[int, int]) -> Iterator[tuple[Mapping[str, Any], Lines]]:
    """The line of each batch and what reads its rows, without those rows that an earlier one has."""
    known: set[str] = set()
    for one in kept:
        line: Mapping[str, Any] = one.batch.line
        own = [row_id for _, row_id in one.records() if _short(row_id) in repeated] if repeated else []
        gone = known.intersection(own)
        known.update(own)
        if gone:
            line = {**line, "rows": {**line["rows"], **packed(_without(one, gone))[1]}}
        yield line, _reader(one, gone)


def _reader(one: _Part, gone: set[str]) -> Lines:
    return lambda: b"".join(_without(one, gone) if gone else one.contents.records(one.batch))


def _without(one: _Part, gone: set[str]) -> list[bytes]:
    return [line for line, row_id in one.records() if row_id not in gone]


def _write(output: Path, heads: Sequence[dict[str, Any]], jobs: int, batches: Sequence[tuple[Mapping[str, Any], Lines]]) -> None:
    with state.State(output, heads[0]["binding"]) as joined:
        attacks = list(dict.fromkeys(tuple(pair) for head in heads for pair in head["attacks"]))
        joined.replace(batches)
        joined.write_head(process=state.this_process(), jobs=jobs, attacks=attacks, shard=None, seconds=0.0, joined=True)
        joined.compact()
