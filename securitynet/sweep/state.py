"""A sweep's directory: a store of rows (see results.store), open for one writer; `sweep.json` holds what all rows share."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.cache import digest, replacing
from securitynet.errors import UsageError
from securitynet.results.row import Row
from securitynet.results.store import JOURNAL, Contents, Damage, Store, write_parquet
from securitynet.results.store.journal import read_journal
from securitynet.results.store.lines import parsed

if TYPE_CHECKING:
    from filelock import FileLock

    from securitynet.sweep.plan import Attacks, Job

HEAD, LOCK = "sweep.json", "lock"
STARTING = 5.0  # seconds that a sweep waits for those who only look whether one works there
Key = tuple[str, int]


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its rows, and what the journal keeps: `fetched` and `evaluated` are (start, end) in seconds since 1970.

    `changed`: what it changed for all models of its process. `fault`: what of the machine it may have failed for, at `path`.
    `reached`: its weights came over the network.
    """

    job: Job
    rows: tuple[Row, ...]
    fetched: tuple[float, float] | None = None
    evaluated: tuple[float, float] | None = None
    seconds: float | None = None
    memory: int | None = None
    changed: str | None = None
    fault: str | None = None
    path: str | None = None
    reached: bool = False

    @property
    def status(self) -> str:
        """failed where any row failed, else suspect, skipped (the whole entry) or ok."""
        found = {row.status for row in self.rows}
        if "failed" in found:
            return "failed"
        return "skipped" if found == {"skipped"} else "suspect" if "suspect" in found else "ok"

    @property
    def images(self) -> int:
        """Queries of the model for all attacks together."""
        return sum(row.queries or 0 for row in self.rows if row.attack == "query")


class Settled:
    """What the `done` lines of a journal say, by job."""

    def __init__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        self.by_job: dict[Key, list[Mapping[str, Any]]] = {}
        for line in lines:
            self.by_job.setdefault((line["entry"], line["seed"]), []).append(line)

    def missing(self, job: Job, attacks: Attacks) -> Attacks:
        """Return those of `attacks` that are not settled for this job, all of them where it was not begun."""
        settled = {tuple(pair) for line in self.by_job.get(job.key, ()) for pair in line["attacks"]}
        return tuple(pair for pair in attacks if pair not in settled)

    def failed(self, key: Key) -> bool:
        """Say whether the job failed, wholly or in part."""
        return any(line["status"] == "failed" for line in self.by_job.get(key, ()))

    @property
    def seconds(self) -> dict[Key, float]:
        """The seconds that each job took which was evaluated to the end."""
        return {key: lines[0]["seconds"] for key, lines in self.by_job.items() if lines[0]["seconds"] is not None}


def settled_in(contents: Contents) -> Settled:
    """Return what is settled in a directory."""
    return Settled(batch.line for batch in contents.batches)


class State:
    """The directory of a sweep, or of one shard of it, open for writing by this process alone. A context manager.

    `noticed` is called with whatever is damaged there; it is set aside, and the jobs are not settled any more.
    """

    def __init__(self, folder: Path, binding: Mapping[str, Any], noticed: Callable[[Damage], None] = lambda _: None) -> None:
        self.folder, self.binding = folder, dict(binding)
        self._noticed, self._store = noticed, Store(folder, noticed)
        self._lock: FileLock | None = None

    def __enter__(self) -> State:
        """Lock the directory and mend it. Raises UsageError where another sweep works on it, or one of other settings did."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.folder)
        try:
            for damage in head_damage(self.folder):
                self._noticed(damage)
            self._check_head()
            self._store.batches()
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
            names = [name for name in {**self.binding, **before} if before.get(name) != self.binding.get(name)]
            told = ", ".join(f"{name} {before.get(name)!r}, not {self.binding.get(name)!r}" for name in names)
            raise UsageError(f"{self.folder} holds a sweep with {told}; give another directory")

    @property
    def settled(self) -> Settled:
        """What is settled now."""
        with self._store.locked() as contents:
            return settled_in(contents)

    def write_head(self, **facts: Any) -> None:
        """Write sweep.json, and the same into the journal: the binding settings and `facts` for those who look on."""
        head = {"binding": self.binding, **facts}
        self._store.note("head", head=head)
        with replacing(self.folder / HEAD) as part:
            part.write_text(json.dumps({**head, "sum": digest(head)}, indent=1) + "\n", encoding="utf-8")

    def forget(self, jobs: Collection[Key]) -> None:
        """Let all that is known about these jobs count no more."""
        self._store.forget(batch for batch in self._store.batches() if (batch.line["entry"], batch.line["seed"]) in jobs)

    def note(self, event: str, **facts: Any) -> None:
        """Add a line to the journal that nothing depends on."""
        self._store.note(event, **facts)

    def add(self, outcome: Outcome) -> None:
        """Append the rows of a job, then the line that settles it; both are on the disk when this returns."""
        job = outcome.job
        with self._store.locked() as contents:
            own = contents.by_job.get(_name(job.entry.id, job.seed), ())
            known = {row.row_id for batch in own if batch.line["status"] != "failed" for row in contents.rows(batch)}
        facts = {"entry": job.entry.id, "seed": job.seed, "attacks": [list(pair) for pair in job.missing], "status": outcome.status}
        facts["named"] = outcome.rows[0].entry  # rows of a repo on the Hub name the commit too
        facts |= {"reason": next((row.reason for row in outcome.rows if row.status == outcome.status != "ok"), None)}
        facts |= {name: getattr(outcome, name) for name in ("fetched", "evaluated", "seconds", "memory", "images", "changed")}
        self.append([row for row in outcome.rows if row.row_id not in known], facts)

    def append(self, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
        """Append rows and the line that settles them, which has the columns `facts`."""
        self._store.add(rows, _name(facts["entry"], facts["seed"]), **facts)

    def replace(self, batches: Iterable[tuple[Mapping[str, Any], Callable[[], bytes]]]) -> None:
        """Let these lines `done`, each with what reads its rows, take the place of all that stands here."""
        self._store.replace(batches)

    def compact(self) -> Path:
        """Read and check every row, and write rows.parquet, in order, where it is not there yet; return its path."""
        with self._store.locked(thorough=True) as contents:
            return write_parquet(contents)


def _name(entry: str, seed: int) -> str:
    return f"{entry} seed {seed}"


def lock(folder: Path) -> FileLock:
    """Return the lock of a directory, held. Raises UsageError where another process holds it."""
    from filelock import FileLock, Timeout

    held = FileLock(folder / LOCK)
    try:
        held.acquire(timeout=0 if is_running(folder) else STARTING)
    except Timeout as error:
        who = read_head(folder).get("process", "another process")
        raise UsageError(f"{folder}: a sweep works on this directory already ({who})") from error
    return held


def is_running(folder: Path) -> bool:
    """Say whether a sweep works on a directory now. Nothing is written, so that it is the same where one may only read."""
    import fcntl

    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def this_process() -> str:
    """Return how this process is told from others."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def read_head(folder: Path) -> dict[str, Any]:
    """Return what sweep.json says, or, where it is damaged or gone, what the journal keeps of it; empty where neither is there."""
    return _head_of_file(folder / HEAD) or next((line["head"] for line in _heads_of_journal(folder)), {})


def head_damage(folder: Path) -> list[Damage]:
    """Return what is wrong with sweep.json: it is damaged, or gone though the journal has it."""
    path = folder / HEAD
    if _head_of_file(path) is not None or not (path.exists() or any(_heads_of_journal(folder))):
        return []
    return [Damage(HEAD, None, "it is damaged; the journal has what it said" if path.exists() else "the file is missing")]


def _head_of_file(path: Path) -> dict[str, Any] | None:
    try:
        head = parsed(path.read_bytes())
    except (OSError, ValueError):
        return None
    given = head.pop("sum", None)
    whole = isinstance(head.get("binding"), dict) and given in (None, digest(head))
    return head if whole else None


def _heads_of_journal(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / JOURNAL
    lines = read_journal(path.read_bytes()).lines if path.exists() else []
    return (line for line in reversed(lines) if line["event"] == "head")
