"""The engine of many machines: one Ray task per job. Ray places, retries and moves tasks; each runs as on one machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from securitynet.download.http import PATIENCE
from securitynet.errors import SecurityNetError, UsageError
from securitynet.sweep import serial
from securitynet.sweep.fetchers import AHEAD, FETCHERS, Fetched, Fetchers, Pace
from securitynet.sweep.plan import Job, Settings
from securitynet.sweep.state import Outcome

TICK = 0.1  # seconds between two looks at what is ready
RETRIES = 3  # of a task whose node or Ray process was lost; what befalls the evaluation itself is an outcome, and not tried again


def run(jobs: Sequence[Job], settings: Settings, logs: Path, workers: int, calls: serial.Calls) -> Iterator[Outcome]:
    """Yield the outcome of every job as it ends; `workers` are at work at the same time, on the cluster of RAY_ADDRESS or here.

    Raises UsageError where Ray is not installed, SecurityNetError where a worker does not start.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'securitynet[ray]'") from error
    fetchers = Fetchers(settings, logs, Pace(max(FETCHERS, workers // 2), workers + AHEAD), calls.say)
    with fetchers, _cluster(ray, settings, workers) as task:
        fetchers.expect(jobs)
        running: dict[Any, tuple[Job, Fetched]] = {}
        while running or (fetchers.left and not calls.stop()):
            found = fetchers.next(TICK) if len(running) < workers and fetchers.left and not calls.stop() else None
            if found is not None:
                job, fetched = found
                if fetched.reason is None:
                    running[task.remote(job, settings, str(logs.resolve()))] = job, fetched
                else:
                    yield serial.unfetched(job, fetched)
            for done in ray.wait(list(running), timeout=TICK)[0] if running else ():
                job, fetched = running.pop(done)
                yield replace(_outcome(ray, done, job), fetched=fetched.when, reached=fetched.reached)


@contextlib.contextmanager
def _cluster(ray: Any, settings: Settings, workers: int) -> Iterator[Any]:
    """Connect to the cluster, or start one here with a place for each worker; yield the task."""
    address = os.environ.get("RAY_ADDRESS")
    here = {} if address else {"num_cpus": workers * settings.processes}
    ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **here)
    try:
        gpu = settings.processes if ray.cluster_resources().get("GPU") else 0
        yield ray.remote(num_cpus=settings.processes, num_gpus=gpu, max_retries=RETRIES)(evaluated)
    finally:
        ray.shutdown()


def _outcome(ray: Any, done: Any, job: Job) -> Outcome:
    try:
        outcome: Outcome = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SecurityNetError):
            raise error.cause from error
        return serial.failed(job, " ".join(f"the task failed: {error.cause}".split())[:500])
    except ray.exceptions.RayError as error:
        return serial.failed(job, " ".join(f"the task was lost: {error}".split())[:500])
    return outcome


def evaluated(job: Job, settings: Settings, logs: str) -> Outcome:
    """Return the outcome of one job, in processes that the next task here finds warm. Its weights are there where the cache is shared."""
    fetchers, world = _processes(settings, logs)
    fetched = fetchers.fetch(job)
    return world.evaluate(job) if fetched.reason is None else serial.unfetched(job, fetched)


@cache
def _processes(settings: Settings, logs: str) -> tuple[Fetchers, serial.World]:
    """The processes of this Ray process; they end with it, as their connection does."""
    return Fetchers(settings, Path(logs), Pace(1, hold=PATIENCE)), serial.World(settings, Path(logs))
