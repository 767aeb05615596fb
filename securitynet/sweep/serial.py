"""The engine of one machine: fetchers run ahead of one worker world."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from securitynet.cache import LIMIT
from securitynet.errors import SecurityNetError, UsageError
from securitynet.results.row import Row
from securitynet.sweep.child import Child, Lost
from securitynet.sweep.estimate import LIMIT as LATE
from securitynet.sweep.estimate import limit_of
from securitynet.sweep.machine import gpus
from securitynet.sweep.plan import Attacks, Job, Settings
from securitynet.sweep.state import Outcome

FETCHERS, AHEAD = 2, 4  # downloads at the same time; jobs whose weights may wait on the disk
GROWTH, SLACK = 2.0, 1 << 30  # a world that holds more than this times what it first held, and so many bytes, starts anew
TICK = 0.5  # seconds between two looks whether a signal has come
Fetched = tuple[tuple[float, float] | None, str | None]  # when, and why it failed


def failed(job: Job, reason: str | None, status: str = "failed") -> Outcome:
    """Return the outcome of a job that gave no measurement: one row with the reason."""
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
    return Outcome(job, (row,))


def general(reason: str | None, settings: Settings) -> str | None:
    """Return a reason without this machine's place of the cache: the same failure has the same words everywhere."""
    return reason and reason.replace(f"{settings.cache}{os.sep}", "")


class Fetchers:
    """Processes that bring weights ahead of time, each asked by a thread of its own. A context manager."""

    def __init__(self, settings: Settings, logs: Path, count: int = FETCHERS, ahead: int = AHEAD) -> None:
        self.settings, self.logs, self.ahead = settings, logs, ahead
        command = [sys.executable, "-m", "securitynet.sweep.fetcher"]
        self._all = [Child(command, {}, logs / "fetcher.log") for _ in range(count)]
        self._idle: SimpleQueue[Child] = SimpleQueue()
        for child in self._all:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(count)
        self._waiting: deque[Job] = deque()
        self._begun: dict[Future[Fetched], Job] = {}

    def __enter__(self) -> Fetchers:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._all:
            child.close()
        self._threads.shutdown()

    def expect(self, jobs: Iterable[Job]) -> None:
        """Begin to fetch for these jobs, in this order."""
        self._waiting.extend(jobs)
        self._fill()

    @property
    def left(self) -> int:
        """How many jobs next() has not yet returned."""
        return len(self._waiting) + len(self._begun)

    def next(self, seconds: float) -> tuple[Job, Fetched] | None:
        """Return a job whose weights are there or cannot be had, None where there is none in so many seconds.

        A slow download holds up no other job.
        """
        done = wait(self._begun, timeout=seconds, return_when=FIRST_COMPLETED).done
        first = next((future for future in self._begun if future in done), None)
        if first is None:
            return None
        job = self._begun.pop(first)
        self._fill()  # now, so that the next download overlaps what this job costs
        return job, first.result()

    def _fill(self) -> None:
        while self._waiting and len(self._begun) < self.ahead:
            job = self._waiting.popleft()
            self._begun[self._threads.submit(self.fetch, job)] = job

    def fetch(self, job: Job) -> Fetched:
        """Fetch the weights of a job; return when that was, and why it failed."""
        if not (job.entry.hub_id or job.entry.weights_url) or job.entry.loader == "builtin":
            return None, None
        start, child, limit = time.time(), self._idle.get(), self.settings.download_limit
        place = {"cache": self.settings.cache, "offline": self.settings.offline}
        message = {"entry": job.entry.to_record(), "log": _log(self.logs, job), **place}
        try:
            reason = child.ask(message, limit).get("error")
        except Lost as lost:
            reason = f"the download {lost}"
        finally:
            self._idle.put(child)
        return (start, time.time()), general(reason, self.settings)


class World:
    """The processes that evaluate, one job at a time. A context manager."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self.settings, self.logs = settings, logs
        self._child = Child(command_of(settings.processes), _environment(settings), logs / "worker.log")
        self._first: int | None = None

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

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of a job; whatever befalls the process costs this job one failed row."""
        start = time.time()
        try:
            reply = self._child.ask(self._message(job), limit_of(job, self.settings))
        except Lost as lost:
            self._first = None
            reply = {"error": f"the evaluation {lost}"}
        times = (start, time.time())
        if "error" in reply:
            return replace(failed(job, general(reply["error"], self.settings)), evaluated=times)
        self._restart_if_grown(reply["memory"])
        rows = tuple(Row.from_record({**row, "reason": general(row["reason"], self.settings)}) for row in reply["rows"])
        if not any(row.status == "failed" for row in rows):
            Path(_log(self.logs, job)).unlink(missing_ok=True)
        return Outcome(job, rows, None, times, reply["seconds"], reply["memory"])

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
            "log": _log(self.logs, job),
        }

    def _restart_if_grown(self, memory: int) -> None:
        self._first = self._first or memory
        if has_grown(self._first, memory):
            self._child.stop()
            self._first = None


def has_grown(first: int, now: int) -> bool:
    """Say whether a world that holds `now` bytes after an entry, and held `first` after its first one, should start anew."""
    return now > GROWTH * first + SLACK


def run(jobs: Sequence[Job], world: World, stop: Callable[[], bool], begin: Callable[[Job], None]) -> Iterator[Outcome]:
    """Yield the outcome of every job in the order in which they end; `begin` is told which one is computed, stop() ends it between two."""
    with Fetchers(world.settings, world.logs) as fetchers:
        fetchers.expect(jobs)
        while fetchers.left and not stop():
            found = fetchers.next(TICK)
            if found is None or stop():
                continue
            job, (when, reason) = found
            if reason is None:
                begin(job)
            outcome = world.evaluate(job) if reason is None else failed(job, reason)
            yield replace(outcome, fetched=when)


def command_of(processes: int) -> list[str]:
    """Return the command of a worker world: a plain process, or torchrun's."""
    module = ["-m", "securitynet.sweep.worker"]
    if processes == 1:
        return [sys.executable, *module]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *module]


def _environment(settings: Settings) -> dict[str, str]:
    limit = {LIMIT: str(settings.cache_limit)} if settings.cache_limit is not None else {}
    cpu = {"ACCELERATE_USE_CPU": "yes"} if settings.processes > 1 and not gpus() else {}
    return {"OMP_NUM_THREADS": str(settings.threads), **cpu, **limit}


def _log(logs: Path, job: Job) -> str:
    return str(logs / f"{job.name}.log")
