"""What stands in the directories of sweeps, for those who look on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet.errors import UsageError
from securitynet.results.store import Contents, read
from securitynet.sweep import state
from securitynet.sweep.progress import STATUSES


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
