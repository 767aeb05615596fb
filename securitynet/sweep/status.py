"""What stands in the directories of sweeps: for those who look on, and for joining shards."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from securitynet.errors import SecurityNetError, UsageError
from securitynet.results.row import Row
from securitynet.results.store import Batch, Contents, read
from securitynet.results.store.lines import row_of
from securitynet.sweep import state
from securitynet.sweep.progress import STATUSES

MAY_DIFFER = ("seconds", "peak_memory", "date")


def shards(folder: Path) -> list[Path]:
    """Return the directories of sweeps in `folder`: itself, and its shards. Raises UsageError where there is none."""
    found = [path for path in (folder, *sorted(folder.glob("shard-*"))) if state.read_head(path)]
    if not found:
        raise UsageError(f"{folder}: no sweep was begun here")
    return found


def status(folder: Path, check: bool = False) -> dict[str, Any]:
    """Return how the sweep in a directory stands: counts by status, the jobs at work, seconds left, failures with their reasons.

    A job counts once, also where shards were joined. `damage` names the lines that do not count; with `check` every digest is read.
    """
    parts = [_Part.of(part, check) for part in shards(folder)]
    last: dict[state.Key, Mapping[str, Any]] = {}
    for line in (line for part in parts for line in part.last.values()):
        key = (line["entry"], line["seed"])
        if key not in last or last[key]["status"] == "failed":
            last[key] = line
    facts: dict[str, Any] = {"jobs": max(len(last), _jobs([part.head for part in parts])), "settled": len(last)}
    facts |= {name: sum(line["status"] == name for line in last.values()) for name in STATUSES}
    facts["running"] = sum(part.running for part in parts)
    facts["seconds_left"] = max((part.seconds_left for part in parts if part.running), default=None)
    facts["now"] = [job for part in parts for job in part.now]
    facts["failures"] = [{name: line[name] for name in ("entry", "seed", "reason")} for line in last.values() if line["status"] == "failed"]
    own = {part.folder: "" if len(parts) == 1 else f"{part.folder.name}/" for part in parts}
    facts["damage"] = [f"{own[part.folder]}{one}" for part in parts for one in (*state.head_damage(part.folder), *part.contents.damage)]
    return facts


def _jobs(heads: Sequence[Mapping[str, Any]]) -> int:
    """How many jobs there are: what was joined has those of its shards, and may have gone on with more."""
    joined = [head["jobs"] for head in heads if head.get("joined")]
    return int(max([sum(head["jobs"] for head in heads if not head.get("joined")), *joined]))


@dataclass(frozen=True)
class _Part:
    """One directory of a sweep, looked at."""

    folder: Path
    head: Mapping[str, Any]
    contents: Contents
    running: bool
    last: Mapping[state.Key, Mapping[str, Any]]

    @classmethod
    def of(cls, folder: Path, check: bool) -> _Part:
        running = state.is_running(folder)
        contents = read(folder, check, running)
        last = {key: lines[-1] for key, lines in state.settled_in(contents).by_job.items()}
        return cls(folder, state.read_head(folder), contents, running, last)

    @property
    def now(self) -> list[dict[str, Any]]:
        """The jobs at work: as many as there are workers."""
        if not self.running:
            return []
        begun = {(line["entry"], line["seed"]): line for line in self.contents.journal.lines if line["event"] == "begun"}
        open_ = sorted((line for key, line in begun.items() if key not in self.last), key=lambda line: line["time"])
        latest = open_[-self.head.get("workers", 1) :]
        return [{"entry": line["entry"], "seed": line["seed"], "seconds": round(time.time() - line["time"])} for line in latest]

    @property
    def seconds_left(self) -> float:
        """What the rest will take, by what jobs took so far, else by the plan."""
        took = [line["evaluated"][1] - line["evaluated"][0] for line in self.last.values() if line["evaluated"]]
        left = self.head["jobs"] - len(self.last)
        return (left * sum(took) / len(took) if took else float(self.head["seconds"])) / self.head.get("workers", 1)


@dataclass(frozen=True)
class Merged:
    """What was joined: where it is, how many rows and jobs, how many failures another shard made good, and what is damaged."""

    folder: Path
    rows: int
    jobs: int
    made_good: int
    damage: tuple[str, ...] = ()


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
        raise SecurityNetError(f"the same key has different values, nothing was written: {'; '.join(contradictions[:5])}")
    batches = [(contents, batch) for contents in found for batch in contents.batches]
    good = {batch.job for _, batch in batches if batch.line["status"] != "failed"}
    first = {batch.job: contents for contents, batch in reversed(batches)}  # of a job that failed everywhere
    kept = [one for one in batches if (first[one[1].job] is one[0] if one[1].job not in good else one[1].line["status"] != "failed")]
    rows = _joined([row for contents, batch in kept for row in contents.rows(batch)])
    jobs = sum(head["jobs"] for part, head in zip(parts, heads, strict=True) if part != output.resolve() or len(parts) == 1)
    _write(output, heads, jobs, _once(kept))
    made_good = {batch.job for _, batch in batches if batch.line["status"] == "failed"} & good
    return Merged(output, len(rows), len({batch.job for _, batch in kept}), len(made_good), tuple(text for text, _ in damage))


def _heads(parts: Sequence[Path]) -> list[dict[str, Any]]:
    heads = [state.read_head(part) for part in parts]
    for part, head in zip(parts, heads, strict=True):
        if head["binding"] != heads[0]["binding"]:
            raise UsageError(f"{part} and {parts[0]} were made with different settings: {head['binding']} and {heads[0]['binding']}")
        if state.is_running(part):
            raise UsageError(f"{part}: a sweep still works on it; merge when it has ended")
    return heads


def _joined(rows: Iterable[Row]) -> list[Row]:
    """Each row once, sorted. Raises SecurityNetError where two of the same key say different things."""
    compared = [column.name for column in fields(Row) if column.name not in (*MAY_DIFFER, "versions", "processes", "device")]
    found: dict[str, Row] = {}
    conflicts = []
    for row in rows:
        other = found.setdefault(row.row_id, row)
        differing = [f"{name} {getattr(other, name)!r} and {getattr(row, name)!r}" for name in compared if not _same(other, row, name)]
        if differing:
            conflicts.append(f"{row.entry} seed {row.seed} {row.attack} {row.params} {row.metric}: {', '.join(differing)}")
    if conflicts:
        more = f"; and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        raise SecurityNetError(f"the same key has different values, nothing was written: {'; '.join(conflicts[:5])}{more}")
    return state.in_order(found.values())


def _same(one: Row, other: Row, name: str) -> bool:
    a, b = getattr(one, name), getattr(other, name)
    return a == b or (a != a and b != b)


def _once(batches: Iterable[tuple[Contents, Batch]]) -> list[tuple[Mapping[str, Any], list[bytes]]]:
    """The line and the rows of each batch, in order of jobs, without rows that an earlier one has."""
    known: set[str] = set()
    found = []
    for contents, batch in sorted(batches, key=lambda one: (one[1].line["entry"], one[1].line["seed"], one[1].n)):
        rows = [(raw, row_of(raw).row_id) for raw in contents.records(batch)]
        found.append((batch.line, [raw for raw, row_id in rows if row_id not in known]))
        known |= {row_id for _, row_id in rows}
    return found


def _write(output: Path, heads: Sequence[dict[str, Any]], jobs: int, batches: Sequence[tuple[Mapping[str, Any], list[bytes]]]) -> None:
    with state.State(output, heads[0]["binding"]) as joined:
        attacks = list(dict.fromkeys(tuple(pair) for head in heads for pair in head["attacks"]))
        joined.replace(batches)
        joined.write_head(process=state.this_process(), jobs=jobs, attacks=attacks, shard=None, seconds=0.0, joined=True)
        joined.compact()
