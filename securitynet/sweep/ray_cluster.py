"""The engine of many machines: workers on a Ray cluster. Ray places them; a worker whose node is lost is replaced, its job moved."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from securitynet._version import __version__
from securitynet.errors import SecurityNetError
from securitynet.sweep import serial
from securitynet.sweep.cluster import Cluster, connected, library
from securitynet.sweep.faults import DISK
from securitynet.sweep.fetchers import WORTH_A_WORD, Fetched, Waiting, log_of
from securitynet.sweep.node import Brought, Place
from securitynet.sweep.plan import Job, SweepSettings
from securitynet.sweep.state import Outcome

TICK = 0.5  # seconds between two looks whether a signal has come
RETRIES = 3  # of a job whose node was lost, of a worker that does not start; what befalls the evaluation itself is an outcome
AHEAD = 2  # jobs of a worker whose weights are being fetched, or are there, beside the one that it evaluates
QUIET = 30.0  # seconds without any worker after which it is said what the sweep waits for


def run(jobs: Sequence[Job], settings: SweepSettings, logs: Path, cluster: Cluster, calls: serial.Calls) -> Iterator[Outcome]:
    """Yield the outcome of every job as it ends.

    Raises UsageError where Ray is not installed or no cluster answers, SecurityNetError where no worker starts.
    """
    ray = library()
    with connected(ray, settings, cluster.checked(settings)) as (start, room):
        crew = _Crew(ray, [_Seat(start) for _ in range(cluster.workers)], deque(jobs), settings, logs, calls)
        yield from crew.outcomes(cluster.patience, room)


class _Seat:
    """A worker, or the next one in its place, and what it does: references to answers of Ray, and the jobs they are about."""

    def __init__(self, start: Any) -> None:
        self._start = start
        self.failed = 0
        self.renew()

    def renew(self) -> None:
        """Start a worker; it is placed when there is room."""
        self.actor = self._start()
        self.host: str | None = None
        self.starting: Any = self.actor.place.remote()
        self.fetching: dict[Any, Job] = {}
        self.fetched: deque[tuple[Job, Fetched]] = deque()
        self.evaluating: tuple[Any, Job, Fetched] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do and nothing to come."""
        return self.evaluating is None and not self.fetching and not self.fetched

    @property
    def references(self) -> list[Any]:
        """What is waited for."""
        waited = [self.evaluating[0]] if self.evaluating else []
        return [*([] if self.host else [self.starting]), *waited, *self.fetching]

    @property
    def jobs(self) -> list[Job]:
        """What it has."""
        return [*([self.evaluating[1]] if self.evaluating else []), *(job for job, _ in self.fetched), *self.fetching.values()]


@dataclass
class _Crew:
    """All workers, and the jobs that wait."""

    ray: Any
    seats: list[_Seat]
    queue: deque[Job]
    settings: SweepSettings
    logs: Path
    calls: serial.Calls
    later: Waiting = field(default_factory=Waiting)
    lost: Counter[tuple[str, int]] = field(default_factory=Counter)

    def outcomes(self, patience: float, room: str) -> Iterator[Outcome]:
        """Yield what becomes of the jobs; when a signal came, of those that are evaluated now."""
        start, said = time.monotonic(), False
        while self._goes_on():
            self._deal()
            waited = {reference: seat for seat in self.seats for reference in seat.references}
            if all(seat.host is None for seat in self.seats):
                said = self._wait_for_room(time.monotonic() - start, patience, room, said)
            else:
                start = time.monotonic()
            if not waited:  # all jobs wait for a server
                time.sleep(TICK)
                continue
            for reference in self.ray.wait(list(waited), timeout=TICK)[0]:
                yield from self._taken(waited[reference], reference)

    def _goes_on(self) -> bool:
        if self.calls.stop():
            return any(seat.evaluating for seat in self.seats)
        return bool(self.queue or len(self.later) or any(not seat.is_idle for seat in self.seats))

    def _deal(self) -> None:
        """Give each worker its next job, and the one after it, as long as there are more jobs than workers."""
        if self.calls.stop():
            return
        self.queue.extendleft(self.later.due())
        for seat in (seat for seat in self.seats if seat.host):
            if seat.evaluating is None and seat.fetched:
                job, fetched = seat.fetched.popleft()
                seat.evaluating = seat.actor.evaluate.options(concurrency_group="evaluate").remote(job), job, fetched
                self.calls.begin(job)
            if seat.is_idle and not self.queue:  # the end: what waits behind a long one is done here
                self.queue.extend(other.fetched.pop()[0] for other in self.seats if other.evaluating and other.fetched)
            while self.queue and len(seat.fetching) + len(seat.fetched) < AHEAD and (seat.is_idle or len(self.queue) > len(self.seats)):
                job = self.queue.popleft()
                seat.fetching[seat.actor.fetch.options(concurrency_group="fetch").remote(job)] = job

    def _wait_for_room(self, seconds: float, patience: float, room: str, said: bool) -> bool:
        if seconds < min(QUIET, patience) or self.calls.stop():
            return said
        offered = {name: self.ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU")}
        cause = f"no worker has found room: each reserves {room}, the cluster has {offered['CPU']:g} and {offered['GPU']:g} in all"
        if seconds > patience:
            raise SecurityNetError(f"{cause}; see --worker-cpus and --worker-gpus, or wait until the cluster is free")
        if not said:
            self.calls.say(f"{cause}; the sweep waits")
        return True

    def _taken(self, seat: _Seat, reference: Any) -> Iterator[Outcome]:
        """Take what a worker answered."""
        if reference not in seat.references:  # it was lost, just before
            return
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            yield from self._broken(seat, reference, error)
        except self.ray.exceptions.RayError as error:
            yield from self._gone(seat, error)
        else:
            if isinstance(answer, Place):
                self._placed(seat, answer)
            elif reference in seat.fetching:
                yield from self._fetched(seat, seat.fetching.pop(reference), answer)
            else:
                yield from self._evaluated(seat, answer)

    def _placed(self, seat: _Seat, place: Place) -> None:
        if place.version != __version__:
            raise SecurityNetError(
                f"node {place.host} has securitynet {place.version}, this machine {__version__}; install the same on both"
            )
        if place.problem:
            raise SecurityNetError(f"node {place.host}: {place.problem}")
        seat.host, seat.failed = place.host, 0

    def _fetched(self, seat: _Seat, job: Job, brought: Brought) -> Iterator[Outcome]:
        fetched = brought.fetched or Fetched()
        if fetched.later is not None and (seconds := self.later.add(job, fetched.later)):
            if seconds > WORTH_A_WORD:
                self.calls.say(f"{job.entry.id}: the server of its weights wants to be asked again in {seconds:.0f} s; other models go on")
            return
        if fetched.reason is None:
            seat.fetched.append((job, fetched))
            return
        self._keep(Path(log_of(self.logs, job)), brought.log)
        yield self._of_node(seat, serial.unfetched(job, fetched))

    def _evaluated(self, seat: _Seat, brought: Brought) -> Iterator[Outcome]:
        assert seat.evaluating is not None
        _, job, fetched = seat.evaluating
        seat.evaluating = None
        if brought.outcome is None:
            self._keep(self.logs / "worker.log", brought.log)
            raise SecurityNetError(f"node {seat.host}: a process of the sweep does not start; {self.logs / 'worker.log'} says why")
        self._keep(Path(log_of(self.logs, job)), brought.log)
        yield self._of_node(seat, replace(brought.outcome, job=job, fetched=fetched.when, reached=fetched.reached))

    def _of_node(self, seat: _Seat, outcome: Outcome) -> Outcome:
        """The outcome without a path that only the node has; a full disk there is said."""
        if outcome.fault == DISK:
            self.calls.say(f"node {seat.host}: {next((row.reason for row in outcome.rows if row.reason), 'its disk is at fault')}")
        return replace(outcome, path=None)

    def _broken(self, seat: _Seat, reference: Any, error: Any) -> Iterator[Outcome]:
        """An error that nobody foresaw, of one call; a worker that does not even start is tried again."""
        reason = " ".join(str(error.cause if hasattr(error, "cause") else error).split())[-400:]
        if reference == seat.starting:
            yield from self._gone(seat, error)
            return
        job = seat.fetching.pop(reference, None) or (seat.evaluating[1] if seat.evaluating else None)
        if seat.evaluating and job is seat.evaluating[1]:
            seat.evaluating = None
        if job is not None:
            yield serial.failed(job, f"node {seat.host}: {reason}")

    def _gone(self, seat: _Seat, error: Exception) -> Iterator[Outcome]:
        """A node or its Ray process was lost: another worker takes its place, and what it had is done anew."""
        evaluated = seat.evaluating[1] if seat.evaluating else None
        jobs, host = seat.jobs, seat.host
        seat.failed += host is None
        if seat.failed > RETRIES:
            raise SecurityNetError(f"no worker starts on the cluster: {' '.join(str(error).split())[-300:]}") from error
        self.ray.kill(seat.actor)
        seat.renew()
        if host:
            self.calls.say(f"a worker on node {host} was lost; {len(jobs)} of its models are done by others")
        for job in reversed(jobs):
            self.lost[job.key] += job is evaluated
            if self.lost[job.key] > RETRIES:
                yield serial.failed(job, f"the node that evaluated it was lost {RETRIES + 1} times")
            else:
                self.queue.appendleft(job)

    def _keep(self, path: Path, log: bytes) -> None:
        if log:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(log)
