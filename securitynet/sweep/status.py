"""What stands in the directories of sweeps: for those who look on, and for joining shards."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from securitynet.errors import SecurityNetError, UsageError
from securitynet.results.row import Row
from securitynet.results.store import write_rows
from securitynet.sweep import state
from securitynet.sweep.progress import STATUSES

MAY_DIFFER = ("seconds", "peak_memory", "date")


def shards(folder: Path) -> list[Path]:
    """Return the directories of sweeps in `folder`: itself, and its shards. Raises UsageError where there is none."""
    found = [path for path in (folder, *sorted(folder.glob("shard-*"))) if (path / state.HEAD).is_file()]
    if not found:
        raise UsageError(f"{folder}: no sweep was begun here")
    return found


def status(folder: Path) -> dict[str, Any]:
    """Return how the sweep in a directory stands: counts by status, the job at work, seconds left, failures with their reasons."""
    parts = [_status(part) for part in shards(folder)]
    joined: dict[str, Any] = {name: sum(part[name] for part in parts) for name in ("jobs", "settled", *STATUSES)}
    joined["running"] = sum(part["running"] for part in parts)
    joined["seconds_left"] = max((part["seconds_left"] or 0.0 for part in parts if part["running"]), default=None)
    for name in ("now", "failures"):
        joined[name] = [item for part in parts for item in part[name]]
    return joined


def _status(folder: Path) -> dict[str, Any]:
    head, lines = state.read_head(folder), state.read_lines(folder / state.JOURNAL)
    last = {(line["entry"], line["seed"]): line for line in lines if line["event"] == "done"}
    running = state.is_running(folder)
    begun = [line for line in lines if line["event"] == "begun" and (line["entry"], line["seed"]) not in last]
    now = [{"entry": line["entry"], "seed": line["seed"], "seconds": round(time.time() - line["time"])} for line in begun[-1:]]
    counts = {name: sum(line["status"] == name for line in last.values()) for name in STATUSES}
    failures = [{name: line[name] for name in ("entry", "seed", "reason")} for line in last.values() if line["status"] == "failed"]
    took = [line["evaluated"][1] - line["evaluated"][0] for line in last.values() if line["evaluated"]]
    left = (head["jobs"] - len(last)) * sum(took) / len(took) if took else head["seconds"]
    facts = {"jobs": head["jobs"], "settled": len(last), **counts, "running": running, "failures": failures}
    return {**facts, "now": now if running else [], "seconds_left": left if running else None}


@dataclass(frozen=True)
class Merged:
    """What was joined: where it is, how many rows and jobs, and how many failures another shard made good."""

    folder: Path
    rows: int
    jobs: int
    made_good: int


def merge(folders: Sequence[Path], output: Path) -> Merged:
    """Join sweeps into `output`, which then is the directory of a sweep too.

    A job that failed in one and was measured in another counts as measured. Raises SecurityNetError, and writes nothing, where
    the same row has different values; UsageError where the sweeps do not share their settings, or are still running.
    """
    parts = list(dict.fromkeys(part.resolve() for folder in folders for part in shards(folder)))
    heads = _heads(parts)
    lines = [line for part in parts for line in state.read_lines(part / state.JOURNAL) if line["event"] == "done"]
    good = {(line["entry"], line["seed"]) for line in lines if line["status"] != "failed"}
    kept = [line for line in lines if line["status"] != "failed" or (line["entry"], line["seed"]) not in good]
    settled = state.Settled(kept)
    records = [row for part in parts for row in state.read_lines(part / state.ROWS)]
    bad = [line for line in lines if line["status"] == "failed" and (line["entry"], line["seed"]) in good]
    gone = {(line["named"], line["seed"]) for line in bad}
    rows = _joined(
        Row.from_record(row)
        for row in records
        if settled.covers(row) and not (row["status"] == "failed" and (row["entry"], row["seed"]) in gone)
    )
    jobs = sum(head["jobs"] for part, head in zip(parts, heads, strict=True) if part != output.resolve() or len(parts) == 1)
    _write(output, heads, jobs, kept, rows)
    return Merged(output, len(rows), len(settled.by_job), len(gone))


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


def _write(output: Path, heads: Sequence[dict[str, Any]], jobs: int, lines: Sequence[dict[str, Any]], rows: Sequence[Row]) -> None:
    with state.State(output, heads[0]["binding"]) as joined:
        attacks = list(dict.fromkeys(tuple(pair) for head in heads for pair in head["attacks"]))
        joined.write_head(process=state.this_process(), jobs=jobs, attacks=attacks, shard=None, seconds=0.0)
        write_rows(output / state.ROWS, rows)
        state.write_lines(output / state.JOURNAL, lines)
        joined.compact()
