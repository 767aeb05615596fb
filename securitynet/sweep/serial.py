"""The engine of one machine: fetchers run ahead of one worker world."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from securitynet.attack import Row
from securitynet.errors import SecurityNetError, UsageError
from securitynet.sweep.child import Child, Lost
from securitynet.sweep.plan import Attacks, Job, Settings
from securitynet.sweep.state import Outcome

FETCHERS, AHEAD = 2, 4  # downloads at the same time; jobs whose weights may wait on the disk
GROWTH, SLACK = 2.0, 1 << 30  # a world that holds more than this times what it first held, and so many bytes, starts anew
Fetched = tuple[tuple[float, float] | None, str | None]  # when, and why it failed


def failed(job: Job, reason: str, status: str = "failed") -> Outcome:
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


class Fetchers:
    """Processes that bring weights, each asked by a thread of its own. A context manager."""

    def __init__(self, settings: Settings, logs: Path, count: int = FETCHERS) -> None:
        self.settings, self.logs = settings, logs
        command = [sys.executable, "-m", "securitynet.sweep.fetcher"]
        self._all = [Child(command, {}, logs / "fetcher.log") for _ in range(count)]
        self._idle: SimpleQueue[Child] = SimpleQueue()
        for child in self._all:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> Fetchers:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._all:
            child.kill()
        self._threads.shutdown()

    def submit(self, job: Job) -> Future[Fetched]:
        """Begin to fetch the weights of a job."""
        return self._threads.submit(self.fetch, job)

    def fetch(self, job: Job) -> Fetched:
        """Fetch the weights of a job; return when that was, and why it failed."""
        if not (job.entry.hub_id or job.entry.weights_url) or job.entry.loader == "builtin":
            return None, None
        start, child, limit = time.time(), self._idle.get(), self.settings.download_limit
        message = {
            "entry": job.entry.to_record(),
            "cache": self.settings.cache,
            "offline": self.settings.offline,
            "log": _log(self.logs, job),
        }
        try:
            reason = child.ask(message, limit).get("error")
        except Lost as lost:
            reason = f"the download {lost}"
        finally:
            self._idle.put(child)
        return (start, time.time()), reason

    def ready(self, jobs: Sequence[Job], stop: Callable[[], bool]) -> Iterator[tuple[Job, Fetched]]:
        """Yield each job when its weights are there or cannot be had; a slow download holds up no other job. Ends at stop()."""
        waiting, begun = deque(jobs), dict[Future[Fetched], Job]()
        while waiting or begun:
            while waiting and len(begun) < AHEAD:
                job = waiting.popleft()
                begun[self.submit(job)] = job
            done = wait(begun, timeout=0.5, return_when=FIRST_COMPLETED).done
            if stop():
                return
            first = next((future for future in begun if future in done), None)
            if first is not None:
                yield begun.pop(first), first.result()


class World:
    """The processes that evaluate, one job at a time. A context manager."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self.settings, self.logs = settings, logs
        self._child = Child(command_of(settings.processes), _environment(settings.processes), logs / "worker.log")
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
            reply = self._child.ask({"attacks": list(self.settings.attacks)}, self.settings.time_limit)
        except Lost as lost:
            raise SecurityNetError(f"the worker that looks for the attacks {lost}; {self.logs / 'worker.log'} says why") from lost
        if "error" in reply:
            raise UsageError(reply["error"])
        return tuple((name, params) for name, params in reply["attacks"])

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of a job; whatever befalls the process costs this job one failed row."""
        start = time.time()
        try:
            reply = self._child.ask(self._message(job), self.settings.time_limit)
        except Lost as lost:
            self._first = None
            reply = {"error": f"the evaluation {lost}"}
        times = (start, time.time())
        if "error" in reply:
            return replace(failed(job, reply["error"]), evaluated=times)
        _drop_if_empty(Path(_log(self.logs, job)))
        self._restart_if_grown(reply["memory"])
        rows = tuple(Row.from_record(record) for record in reply["rows"])
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
        if memory > GROWTH * self._first + SLACK:
            self._child.stop()
            self._first = None


def run(jobs: Sequence[Job], fetchers: Fetchers, world: World, stop: Callable[[], bool], begin: Callable[[Job], None]) -> Iterator[Outcome]:
    """Yield the outcome of every job in the order in which they end; `begin` is told which one is computed, stop() ends it between two."""
    for job, (when, reason) in fetchers.ready(jobs, stop):
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


def _environment(processes: int) -> dict[str, str]:
    if processes == 1:
        return {}
    threads = max(1, (os.cpu_count() or 1) // processes)
    cpu = {} if gpus() else {"ACCELERATE_USE_CPU": "yes"}
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)), **cpu}


def gpus() -> int:
    """Return how many NVIDIA GPUs this process may use, without torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _log(logs: Path, job: Job) -> str:
    return str(logs / f"{job.name}.log")


def _drop_if_empty(path: Path) -> None:
    if path.exists() and not path.stat().st_size:
        path.unlink()
