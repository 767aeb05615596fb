"""A sweep's directory: rows and journal, appended by one writer, whole after any kill.

`rows.jsonl` holds one row a line. `journal.jsonl` says what is settled: a line `done` follows the rows of a job, so rows that no such
line covers were cut off by a kill, and go when the directory is opened again. `sweep.json` holds what all rows share.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.cache import replacing
from securitynet.errors import UsageError
from securitynet.results.row import Row

if TYPE_CHECKING:
    from filelock import FileLock

    from securitynet.sweep.plan import Attacks, Job

ROWS, JOURNAL, HEAD, LOCK, PARQUET = "rows.jsonl", "journal.jsonl", "sweep.json", "lock", "rows.parquet"
Key = tuple[str, int]


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its rows, and what the journal keeps: `fetched` and `evaluated` are (start, end) in seconds since 1970."""

    job: Job
    rows: tuple[Row, ...]
    fetched: tuple[float, float] | None = None
    evaluated: tuple[float, float] | None = None
    seconds: float | None = None
    memory: int | None = None

    @property
    def status(self) -> str:
        """failed where any row failed, else suspect, skipped (the whole entry) or ok."""
        found = {row.status for row in self.rows}
        if "failed" in found:
            return "failed"
        return "skipped" if found == {"skipped"} else "suspect" if "suspect" in found else "ok"

    @property
    def images(self) -> int:
        """Images that the model was asked about for all attacks together."""
        return sum(row.queries or 0 for row in self.rows if row.attack == "query")


def read_lines(path: Path) -> list[Any]:
    """Return the values of a file of JSON lines; a last line that was cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


class Settled:
    """What the `done` lines of a journal say, by job."""

    def __init__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        self.by_job: dict[Key, list[Mapping[str, Any]]] = {}
        self._by_row: dict[Key, list[Mapping[str, Any]]] = {}
        for line in lines:
            if line["event"] == "done":
                self.by_job.setdefault((line["entry"], line["seed"]), []).append(line)
                self._by_row.setdefault((line["named"], line["seed"]), []).append(line)

    def missing(self, job: Job, attacks: Attacks) -> Attacks:
        """Return those of `attacks` that are not settled for this job, all of them where it was not begun."""
        settled = {tuple(pair) for line in self.by_job.get(job.key, ()) for pair in line["attacks"]}
        return tuple(pair for pair in attacks if pair not in settled)

    def failed(self, key: Key) -> bool:
        """Say whether the job failed, wholly or in part."""
        return any(line["status"] == "failed" for line in self.by_job.get(key, ()))

    def covers(self, row: Mapping[str, Any]) -> bool:
        """Say whether a row belongs to a job that was settled to the end."""
        lines = self._by_row.get((row["entry"], row["seed"]), ())
        return bool(lines) and (row["family"] == "verify" or any([row["attack"], row["params"]] in line["attacks"] for line in lines))

    @property
    def seconds(self) -> dict[Key, float]:
        """The seconds that each job took which was evaluated to the end."""
        return {key: lines[0]["seconds"] for key, lines in self.by_job.items() if lines[0]["seconds"] is not None}


class State:
    """The directory of a sweep, or of one shard of it, open for writing by this process alone. A context manager."""

    def __init__(self, folder: Path, binding: Mapping[str, Any]) -> None:
        self.folder, self.binding = folder, dict(binding)
        self._lock: FileLock | None = None
        self._written: set[str] = set()
        self.settled = Settled(())

    def __enter__(self) -> State:
        """Lock the directory and mend it. Raises UsageError where another sweep works on it, or one of other settings did."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.folder)
        try:
            self._check_head()
            self.mend(())
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def _check_head(self) -> None:
        before = read_head(self.folder).get("binding")
        if before not in (None, self.binding):
            told = ", ".join(f"{name} {before[name]!r}, not {value!r}" for name, value in self.binding.items() if before.get(name) != value)
            raise UsageError(f"{self.folder} holds a sweep with {told}; give another directory")

    def write_head(self, **facts: Any) -> None:
        """Write sweep.json: the binding settings and `facts` for those who look on."""
        with replacing(self.folder / HEAD) as part:
            part.write_text(json.dumps({"binding": self.binding, **facts}, indent=1) + "\n", encoding="utf-8")

    def mend(self, forget: Collection[Key]) -> None:
        """Drop what was cut off, and all that is known about the jobs in `forget`; each file changes at once or not at all."""
        kept = [line for line in read_lines(self.folder / JOURNAL) if (line.get("entry"), line.get("seed")) not in forget]
        self.settled = Settled(kept)
        write_lines(self.folder / JOURNAL, kept)
        rows = [row for row in read_lines(self.folder / ROWS) if self.settled.covers(row)]
        write_lines(self.folder / ROWS, rows)
        self._written = {row["row_id"] for row in rows}

    def note(self, event: str, **facts: Any) -> None:
        """Add a line to the journal that nothing depends on."""
        _append(self.folder / JOURNAL, [{"event": event, **facts}], sync=False)

    def add(self, outcome: Outcome) -> None:
        """Append the rows of a job, then the line that settles it; both are on the disk when this returns."""
        rows = [row for row in outcome.rows if row.row_id not in self._written]
        _append(self.folder / ROWS, [row.to_record() for row in rows])
        self._written |= {row.row_id for row in rows}
        job = outcome.job
        facts = {"entry": job.entry.id, "seed": job.seed, "attacks": [list(pair) for pair in job.missing], "status": outcome.status}
        facts["named"] = outcome.rows[0].entry  # rows of a repo on the Hub name the commit too
        facts |= {"reason": next((row.reason for row in outcome.rows if row.status == outcome.status != "ok"), None)}
        facts |= {name: getattr(outcome, name) for name in ("fetched", "evaluated", "seconds", "memory", "images")}
        _append(self.folder / JOURNAL, [{"event": "done", **facts}])

    def compact(self) -> Path:
        """Write rows.parquet, in order; return its path."""
        return write_parquet(self.folder, [Row.from_record(row) for row in read_lines(self.folder / ROWS)])


def lock(folder: Path) -> FileLock:
    """Return the lock of a directory, held. Raises UsageError where another process holds it."""
    from filelock import FileLock, Timeout

    held = FileLock(folder / LOCK)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        who = read_head(folder).get("process", "another process")
        raise UsageError(f"{folder}: a sweep works on this directory already ({who})") from error
    return held


def is_running(folder: Path) -> bool:
    """Say whether a sweep works on a directory now."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def this_process() -> str:
    """Return how this process is told from others."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def read_head(folder: Path) -> dict[str, Any]:
    """Return what sweep.json says, empty where there is none."""
    path = folder / HEAD
    head: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return head


def write_parquet(folder: Path, rows: Iterable[Row]) -> Path:
    """Write rows.parquet, in order, with the types of a dataset of results (whose library need not be loaded for this); return its path."""
    import pyarrow
    import pyarrow.parquet

    types = pyarrow.schema([(column.name, pyarrow.type_for_alias(column.metadata["dtype"])) for column in fields(Row)])
    records = [{**row.to_record(), "date": None if row.date is None else datetime.fromisoformat(row.date)} for row in in_order(rows)]
    with replacing(folder / PARQUET) as part:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records, types), part)
    return folder / PARQUET


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the one order that does not depend on who measured them when."""
    return sorted(rows, key=lambda row: (row.entry, row.seed or 0, row.family, row.attack, row.params, row.metric))


def write_lines(path: Path, values: Sequence[Any]) -> None:
    """Give a file these JSON lines, all at once, if it does not hold them already."""
    text = "".join(_lines(values))
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") == text:
        return
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _append(path: Path, values: Iterable[Any], sync: bool = True) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(_lines(values)))
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _lines(values: Iterable[Any]) -> Iterator[str]:
    return (json.dumps(value, ensure_ascii=False) + "\n" for value in values)
