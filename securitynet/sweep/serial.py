"""The engine of one machine: fetchers run ahead of one worker world."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securitynet.cache import LIMIT
from securitynet.errors import SecurityNetError, UsageError
from securitynet.results.row import Row
from securitynet.sweep.child import Child, Lost
from securitynet.sweep.estimate import LIMIT as LATE
from securitynet.sweep.estimate import limit_of
from securitynet.sweep.faults import of_disk
from securitynet.sweep.fetchers import Fetched, Fetchers, general, log_of
from securitynet.sweep.machine import gpus
from securitynet.sweep.plan import Attacks, Job, SweepSettings
from securitynet.sweep.state import Outcome

GROWTH, SLACK = 2.0, 1 << 30  # a world that holds more than this times what it first held, and so many bytes, starts anew
PROBE = 2.0  # seconds
TICK = 0.5  # seconds between two looks whether a signal has come


def failed(job: Job, reason: str | None, status: str = "failed", **facts: Any) -> Outcome:
    """Return the outcome of a job that gave no measurement: one row with the reason; `facts` are further columns of the outcome."""
    row = Row(
        entry=job.entry.id,
        dataset=job.entry.dataset,
        family="verify",
        attack="evaluate",
        seed=job.seed,
        status=status,
        reason=reason,
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        origin="securitynet",
    )
    return Outcome(job, (row,), **facts)


class World:
    """The processes that evaluate, one job at a time. A context manager."""

    def __init__(self, settings: SweepSettings, logs: Path) -> None:
        self.settings, self.logs = settings, logs.absolute()
        self._child = Child(command_of(settings.processes), _environment(settings), logs / "worker.log")
        self._first: int | None = None
        self._used = False
        self.ended = False  # whether SIGTERM ended the processes in the last evaluation

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._child.kill()

    def close(self) -> None:
        """End the processes; they start again when they are asked."""
        self._child.stop()

    def resolve(self) -> Attacks:
        """Return the attacks that the settings name. Raises UsageError with the choices, SecurityNetError where the worker dies."""
        try:
            reply = self._child.ask({"attacks": list(self.settings.attacks)}, LATE)
        except Lost as lost:
            raise SecurityNetError(f"the worker that looks for the attacks {lost}; {self.logs / 'worker.log'} says why") from lost
        if "error" in reply:
            raise UsageError(reply["error"])
        return tuple((name, params) for name, params in reply["attacks"])

    def speed(self) -> float | None:
        """Return the multiply-accumulates per second of all processes together, measured for two seconds; None where that fails."""
        try:
            found = self._child.ask({"probe": PROBE}, LATE).get("speed")
        except Lost:
            return None
        return found and found * self.settings.processes

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of a job; whatever befalls the process costs this job one failed row.

        What failed for a reason that nobody foresaw is tried once more in a fresh process; an attack that failed so, and a process
        that died, only where it had evaluated others before. A refusal of this package stands at once.
        """
        start, used = time.time(), self._used
        reply = self._asked(job)
        if reply.get("unexpected") or (used and reply.get("doubtful")):
            self._renew()
            reply = self._asked(job)
        outcome = replace(self._outcome(job, reply), evaluated=(start, time.time()), changed=reply.get("changed"))
        if outcome.changed:
            self._renew()
        elif "memory" in reply:
            self._restart_if_grown(reply["memory"])
        return outcome

    def _asked(self, job: Job) -> dict[str, Any]:
        """The worker's answer; `doubtful` where what went wrong may be due to an earlier entry."""
        self.ended = False
        try:
            reply = self._child.ask(self._message(job), limit_of(job, self.settings))
        except Lost as lost:
            self._first, self._used, self.ended = None, False, lost.ended
            return {"error": f"the evaluation {lost}", "doubtful": not lost.late}
        except OSError as error:
            return of_disk(error)
        self._used = True
        reply["doubtful"] = bool(reply.get("odd"))  # attacks that failed for a reason that nobody foresaw
        reply["unexpected"] = reply.get("unexpected") and not reply.get("fault")
        return reply

    def _renew(self) -> None:
        """End the processes; the next entry starts in fresh ones."""
        self._child.stop()
        self._first, self._used = None, False

    def _outcome(self, job: Job, reply: Mapping[str, Any]) -> Outcome:
        if "error" in reply:
            return failed(job, general(reply["error"], self.settings), fault=reply.get("fault"), path=reply.get("path"))
        rows = tuple(Row.from_record({**row, "reason": general(row["reason"], self.settings)}) for row in reply["rows"])
        if not any(row.status == "failed" for row in rows):
            with contextlib.suppress(OSError):  # a disk that may only be read keeps it
                Path(log_of(self.logs, job)).unlink(missing_ok=True)
        return Outcome(job, rows, seconds=reply["seconds"], memory=reply["memory"])

    def _message(self, job: Job) -> dict[str, Any]:
        settings = self.settings
        return {
            "entry": job.entry.to_record(),
            "attacks": list(settings.attacks),
            "missing": job.missing,
            "seed": job.seed,
            "samples": settings.samples,
            "batch_size": settings.batch_size,
            "data": settings.data_of(job.entry),
            "cache": settings.cache,
            "offline": settings.offline,
            "dtype": settings.dtype,
            "channels_last": settings.channels_last,
            "log": log_of(self.logs, job),
        }

    def _restart_if_grown(self, memory: int) -> None:
        self._first = self._first or memory
        if has_grown(self._first, memory):
            self._renew()


def has_grown(first: int, now: int) -> bool:
    """Say whether a world that holds `now` bytes after an entry, and held `first` after its first one, should start anew."""
    return now > GROWTH * first + SLACK


@dataclass(frozen=True)
class Calls:
    """What an engine asks and tells: `stop` says that it is to end between two jobs, `begin` which one is computed, `say` what goes on."""

    stop: Callable[[], bool]
    begin: Callable[[Job], None]
    say: Callable[[str], None]


def run(jobs: Sequence[Job], world: World, calls: Calls) -> Iterator[Outcome]:
    """Yield the outcome of every job in the order in which they end."""
    with Fetchers(world.settings, world.logs, say=calls.say) as fetchers:
        fetchers.expect(jobs)
        while fetchers.left and not calls.stop():
            found = fetchers.next(TICK)
            if found is None or calls.stop():
                continue
            job, fetched = found
            if fetched.reason is None:
                calls.begin(job)
                outcome = world.evaluate(job)
                if world.ended and calls.stop():  # SIGTERM went to all processes, as clusters do it: no fault of this job
                    return
                yield replace(outcome, fetched=fetched.when, reached=fetched.reached)
            else:
                yield unfetched(job, fetched)


def unfetched(job: Job, fetched: Fetched) -> Outcome:
    """Return the outcome of a job whose weights could not be had."""
    return failed(job, fetched.reason, fetched=fetched.when, fault=fetched.fault, path=fetched.path)


def command_of(processes: int) -> list[str]:
    """Return the command of a worker world: a plain process, or torchrun's."""
    module = ["-m", "securitynet.sweep.worker"]
    if processes == 1:
        return [sys.executable, *module]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *module]


def _environment(settings: SweepSettings) -> dict[str, str]:
    limit = {LIMIT: str(settings.cache_limit)} if settings.cache_limit is not None else {}
    cpu = {"ACCELERATE_USE_CPU": "yes"} if settings.processes > 1 and not gpus() else {}
    return {"OMP_NUM_THREADS": str(settings.threads), **cpu, **limit}
