"""sweep(): the plan is made, the engine runs, what comes back is written down at once."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from securitynet.results.store import read
from securitynet.sweep import serial
from securitynet.sweep.child import PREFIX, clean_up
from securitynet.sweep.cluster import Cluster
from securitynet.sweep.estimate import Cost, estimate
from securitynet.sweep.faults import AGAIN, Machine, host_of, written
from securitynet.sweep.plan import Attacks, Job, SweepSettings
from securitynet.sweep.rounds import Rounds
from securitynet.sweep.state import Outcome, Settled, State, settled_in, this_process
from securitynet.sweep.weights import Weights


class Watcher(Protocol):
    """Who is told how the sweep goes on."""

    def planned(self, plan: SweepPlan) -> None:
        """The work is known."""

    def begun(self, job: Job) -> None:
        """A job is computed now."""

    def ended(self, outcome: Outcome) -> None:
        """A job is settled, and on the disk."""

    def noticed(self, what: str) -> None:
        """Something that a person should know: damage that was set aside, what the sweep waits for, who changed what."""


@dataclass(frozen=True)
class SweepPlan:
    """All jobs of the directory, those still to do with the attacks that they miss, and what these will cost."""

    jobs: tuple[Job, ...]
    todo: tuple[Job, ...]
    attacks: Attacks
    cost: Cost


def planned(
    jobs: Sequence[Job],
    settings: SweepSettings,
    attacks: Attacks,
    settled: Settled,
    retry: bool = False,
    speed: Callable[[], float | None] | None = None,
) -> SweepPlan:
    """Return what is not done yet; with `retry`, what failed counts as not done. `speed` measures the device where no job was yet."""
    todo = []
    for job in jobs:
        missing = attacks if retry and settled.failed(job.key) else settled.missing(job, attacks)
        if missing:
            todo.append(replace(job, missing=attacks if settled.failed(job.key) else missing))
    fast = speed() if speed is not None and todo and not settled.seconds else None
    cost = estimate([job for job in todo if not job.impossible], settings, settled.seconds, jobs, fast)
    return SweepPlan(tuple(jobs), tuple(todo), attacks, cost)


def look(jobs: Sequence[Job], settings: SweepSettings, folder: Path, retry: bool = False) -> SweepPlan:
    """Return the plan of a sweep in `folder`; nothing there is changed."""
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as logs, serial.World(settings, Path(logs)) as world:
        return planned(jobs, settings, world.resolve(), settled_in(read(folder)), retry, world.speed)


@dataclass(frozen=True)
class How:
    """How a sweep runs: `retry` what failed before; `engine` serial or ray, the latter on a `cluster`; `shard` for the record.

    `patience`: seconds that it waits for a machine whose disk or network is at fault; `again`: between two tests of it.
    """

    retry: bool = False
    engine: str = "serial"
    cluster: Cluster = field(default_factory=Cluster)
    shard: str | None = None
    patience: float = 3600.0
    again: float = AGAIN

    @property
    def workers(self) -> int:
        """Models that are evaluated at the same time."""
        return self.cluster.workers if self.engine == "ray" else 1


def sweep(jobs: Sequence[Job], settings: SweepSettings, folder: Path, watcher: Watcher, how: How) -> bool:
    """Evaluate what is not done yet and write it into `folder`; return whether all of it was done, or a signal ended it before.

    Raises UsageError where another sweep works there, or nothing is named; SecurityNetError where a worker does not start at all,
    or the machine stays at fault.
    """
    folder = folder.absolute()
    clean_up()
    with _opened(folder, settings, watcher) as state, Interrupts() as interrupts:
        with serial.World(settings, folder / "logs") as world:
            plan = planned(jobs, settings, world.resolve(), state.settled, how.retry, world.speed)
            state.forget({job.key for job in plan.todo if state.settled.failed(job.key)})
            head = {"jobs": len(jobs), "attacks": plan.attacks, "shard": how.shard, "seconds": plan.cost.seconds, "workers": how.workers}
            state.write_head(process=this_process(), **head)
            watcher.planned(plan)
            hosts = list(dict.fromkeys(host for job in plan.todo if (host := host_of(job.entry))))
            machine = Machine((folder, Path(settings.cache)), hosts, how.patience, interrupts.stopping, watcher.noticed, how.again)
            weights = Weights(settings, plan.jobs, plan.todo)
            left = _run(plan, world, how, _Books(state, watcher, machine, weights, interrupts.stopping))
        machine.wait(lambda: written(state.compact))
        return not left and not planned(jobs, settings, plan.attacks, state.settled).todo


def _opened(folder: Path, settings: SweepSettings, watcher: Watcher) -> State:
    return State(folder, settings.binding, lambda damage: watcher.noticed(f"damaged, and set aside: {damage}"))


@dataclass(frozen=True)
class _Books:
    """Where outcomes go."""

    state: State
    watcher: Watcher
    machine: Machine
    weights: Weights
    stop: Callable[[], bool]

    def begin(self, job: Job) -> None:
        """A job is computed now."""
        written(lambda: self.state.note("begun", entry=job.entry.id, seed=job.seed, time=time.time()))
        self.watcher.begun(job)

    def end(self, outcome: Outcome) -> None:
        """Write an outcome down. Raises OSError."""
        self.state.add(outcome)
        self.weights.end(outcome)
        if outcome.changed:
            self.watcher.noticed(
                f"{outcome.job.entry.id} changed what all models share ({outcome.changed}); the next one has a fresh process"
            )
        self.watcher.ended(outcome)


def _run(plan: SweepPlan, world: serial.World, how: How, books: _Books) -> int:
    """Do what is to be done, round by round; return how many jobs are left."""
    rounds = Rounds(books.machine, books.end, {job.key: job for job in plan.todo})
    calls = serial.Calls(books.stop, books.begin, books.watcher.noticed)
    todo: Sequence[Job] = plan.todo
    while todo and not books.stop():
        with closing(_outcomes(todo, world, how, calls)) as outcomes:
            for outcome in outcomes:
                rounds.take(outcome)
        todo = rounds.next()
    return len(plan.todo) - rounds.booked


def _outcomes(todo: Sequence[Job], world: serial.World, how: How, calls: serial.Calls) -> Generator[Outcome, None, None]:
    """What the records rule out comes first and costs nothing; the engine does the rest."""
    for job in todo:
        if job.impossible:
            yield serial.failed(job, job.impossible, "skipped")
    possible = [job for job in todo if not job.impossible]
    if how.engine == "ray":
        from securitynet.sweep import ray_cluster

        world.close()
        cluster = replace(how.cluster, patience=how.patience)
        yield from ray_cluster.run(possible, world.settings, world.logs, cluster, calls)
        return
    yield from serial.run(possible, world, calls)


class Interrupts:
    """While open, the first SIGINT or SIGTERM asks to stop after the present job, a second SIGINT stops now. A context manager."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        self._before = {number: signal.signal(number, self._heard) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

    def stopping(self) -> bool:
        """Say whether a signal has come."""
        return self.count > 0
