"""The engine of many machines: one Ray task per job. Ray places, retries and moves tasks; each runs as on one machine."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from securitynet.errors import SecurityNetError, UsageError
from securitynet.sweep import serial
from securitynet.sweep.plan import Job, Settings
from securitynet.sweep.state import Outcome

RETRIES = 3  # of a task whose node or Ray process was lost; what befalls the evaluation itself is an outcome, and not tried again


def run(jobs: Sequence[Job], settings: Settings, logs: Path, workers: int, stop: Callable[[], bool]) -> Iterator[Outcome]:
    """Yield the outcome of every job as it ends; `workers` are at work at the same time, on the cluster of RAY_ADDRESS or here.

    Raises UsageError where Ray is not installed, SecurityNetError where a worker does not start.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'securitynet[ray]'") from error
    with _cluster(ray, settings, workers) as task:
        waiting, running = deque(jobs), dict[Any, Job]()
        while running or (waiting and not stop()):
            while waiting and len(running) < workers and not stop():
                job = waiting.popleft()
                running[task.remote(job, settings, str(logs.resolve()))] = job
            for done in ray.wait(list(running), timeout=0.5)[0]:
                yield _outcome(ray, done, running.pop(done))


@contextlib.contextmanager
def _cluster(ray: Any, settings: Settings, workers: int) -> Iterator[Any]:
    """Connect to the cluster, or start one here with a place for each worker; yield the task."""
    address = os.environ.get("RAY_ADDRESS")
    gpu = settings.processes if serial.gpus() else 0
    here = {} if address else {"num_cpus": workers * settings.processes}
    ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **here)
    try:
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
    """Return the outcome of one job: fetch, then evaluate, in processes that the next task here finds warm."""
    fetchers, world = _processes(settings, logs)
    when, reason = fetchers.fetch(job)
    outcome = world.evaluate(job) if reason is None else serial.failed(job, reason)
    return replace(outcome, fetched=when)


@cache
def _processes(settings: Settings, logs: str) -> tuple[serial.Fetchers, serial.World]:
    """The processes of this Ray process; they end with it, as their connection does."""
    return serial.Fetchers(settings, Path(logs), 1), serial.World(settings, Path(logs))
