"""Weights are brought ahead of time; a server that wants to be asked later is, and holds up nobody else."""

from __future__ import annotations

import heapq
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from securitynet.sweep.child import Child, Lost
from securitynet.sweep.faults import of_disk
from securitynet.sweep.plan import Job, SweepSettings

FETCHERS, AHEAD = 2, 4  # downloads at the same time; jobs whose weights may wait on the disk
HOLD = 2.0  # seconds that a download waits for a server before its job is put back
LONGEST = 60.0  # seconds between two questions where a server refuses again and again without a time
WORTH_A_WORD = 10.0  # seconds


@dataclass(frozen=True)
class Fetched:
    """When the weights of a job were fetched, and why they could not be; `fault` and `path` as of an Outcome.

    `reached`: they came over the network. `later`: seconds after which the server wants to be asked again.
    """

    when: tuple[float, float] | None = None
    reason: str | None = None
    fault: str | None = None
    path: str | None = None
    reached: bool = False
    later: float | None = None


@dataclass(frozen=True)
class Pace:
    """How fast weights are fetched: `count` downloads at the same time, `ahead` jobs whose weights may wait on the disk.

    `hold`: seconds that one waits in its process for a server that says when to come back.
    """

    count: int = FETCHERS
    ahead: int = AHEAD
    hold: float = HOLD


class Fetchers:
    """Processes that bring weights ahead of time, each asked by a thread of its own. A context manager.

    `say` is called with what a person should know: that a server wants to be asked later.
    """

    def __init__(self, settings: SweepSettings, logs: Path, pace: Pace = Pace(), say: Callable[[str], None] = lambda _: None) -> None:
        self.settings, self.logs, self.pace, self._say = settings, logs.absolute(), pace, say
        command = [sys.executable, "-m", "securitynet.sweep.fetcher"]
        self._all = [Child(command, {}, logs / "fetcher.log") for _ in range(pace.count)]
        self._idle: SimpleQueue[Child] = SimpleQueue()
        for child in self._all:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(pace.count)
        self._waiting: deque[Job] = deque()
        self._begun: dict[Future[Fetched], Job] = {}
        self._later = Waiting()

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
        return len(self._waiting) + len(self._begun) + len(self._later)

    def next(self, seconds: float) -> tuple[Job, Fetched] | None:
        """Return a job whose weights are there or cannot be had, None where there is none in so many seconds.

        A slow download holds up no other job, and neither does a server that wants to be asked later.
        """
        self._fill()
        if not self._begun:  # all of them wait for their time
            time.sleep(min(seconds, self._later.seconds))
            return None
        done = wait(self._begun, timeout=min(seconds, self._later.seconds), return_when=FIRST_COMPLETED).done
        first = next((future for future in self._begun if future in done), None)
        if first is None:
            return None
        job, fetched = self._begun.pop(first), first.result()
        put_back = fetched.later is not None and self._put_back(job, fetched.later)
        self._fill()  # now, so that the next download overlaps what this job costs
        return None if put_back else (job, fetched)

    def _put_back(self, job: Job, seconds: float) -> bool:
        seconds = self._later.add(job, seconds) or 0.0
        if seconds > WORTH_A_WORD:
            self._say(f"{job.entry.id}: the server of its weights wants to be asked again in {seconds:.0f} s; other models go on")
        return seconds > 0

    def _fill(self) -> None:
        self._waiting.extendleft(self._later.due())
        while self._waiting and len(self._begun) < self.pace.ahead:
            job = self._waiting.popleft()
            self._begun[self._threads.submit(self.fetch, job)] = job

    def fetch(self, job: Job) -> Fetched:
        """Fetch the weights of a job; return when that was, and why it failed."""
        if not (job.entry.hub_id or job.entry.weights_url) or job.entry.loader == "builtin":
            return Fetched()
        start, child = time.time(), self._idle.get()
        place = {"cache": self.settings.cache, "offline": self.settings.offline, "hold": self.pace.hold}
        message = {"entry": job.entry.to_record(), "log": log_of(self.logs, job), **place}
        try:
            reply = child.ask(message, self.settings.download_limit)
        except Lost as lost:
            reply = {"error": f"the download {lost}"}
        except OSError as error:
            reply = of_disk(error)
        finally:
            self._idle.put(child)
        return _fetched(reply, (start, time.time()), self.settings)


def _fetched(reply: dict[str, Any], when: tuple[float, float], settings: SweepSettings) -> Fetched:
    reason = general(reply.get("error"), settings)
    return Fetched(when, reason, reply.get("fault"), reply.get("path"), reply.get("reached", False), reply.get("later"))


class Waiting:
    """Jobs that wait for a time: not before a server said, and no longer in all than anyone waits for one."""

    def __init__(self) -> None:
        self._jobs: list[tuple[float, int, Job]] = []
        self._waited: dict[tuple[str, int], list[float]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job, seconds: float) -> float | None:
        """Put a job back for so many seconds, longer each time at first; return how many, None where that is too long in all."""
        from securitynet.download.http import PATIENCE

        before = self._waited.setdefault(job.key, [])
        seconds = max(seconds, min(LONGEST, 2.0 ** len(before)))
        if sum(before) + seconds > PATIENCE:
            return None
        before.append(seconds)
        heapq.heappush(self._jobs, (time.monotonic() + seconds, id(job), job))
        return seconds

    def due(self) -> list[Job]:
        """Return the jobs whose time has come, the last one first."""
        found: list[Job] = []
        while self._jobs and self._jobs[0][0] <= time.monotonic():
            found.insert(0, heapq.heappop(self._jobs)[2])
        return found

    @property
    def seconds(self) -> float:
        """Seconds until the time of the next one has come; infinite where there is none."""
        return max(0.0, self._jobs[0][0] - time.monotonic()) if self._jobs else float("inf")


def general(reason: str | None, settings: SweepSettings) -> str | None:
    """Return a reason without this machine's place of the cache: the same failure has the same words everywhere."""
    return reason and reason.replace(f"{settings.cache}{os.sep}", "")


def log_of(logs: Path, job: Job) -> str:
    """Return the file of what is printed about a job."""
    return str(logs / f"{job.name}.log")
