"""Which way of training reference models is fastest here: a few steps of each, in turns."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from securitynet.references.networks import create, stackable

if TYPE_CHECKING:
    from securitynet.references.fit import Job, Workshop

log = logging.getLogger(__name__)
STACKS = (4, 16)  # sizes tried
STACKS_CUDA = (4, 16, 64)
STEPS, REPEATS = 4, 3  # of a measurement
MEASURING = 0.03  # at most this share of the whole training goes into measuring one way
MARGIN = 0.9  # a way must take less than this share of the plain one's time, so that noise does not choose it
CPU_PARAMETERS = 500_000  # beyond, a processor is busy with one network, and stacks would only take memory


@dataclass(frozen=True)
class Way:
    """So many networks at a time, on so many threads of the processor (None: as many as torch is set to)."""

    size: int = 1
    threads: int | None = None


@contextlib.contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Within the block torch computes on `count` threads (None: as it is set to)."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest(workshop: Workshop, jobs: Sequence[Job]) -> Way:
    """Return the way that was measured to be fastest, the plain one unless another is clearly faster; log the estimate."""
    plain = Way()
    trials = {way: Trial(workshop, jobs, way) for way in (plain, *_others(workshop, jobs))}
    for _ in range(1 + REPEATS):  # in turns, so that what else the machine does falls on all; the first is a warm-up
        for trial in trials.values():
            trial.run()
    seconds = {way: trial.seconds for way, trial in trials.items()}
    better = [way for way in seconds if seconds[way] < MARGIN * seconds[plain]]
    best = min(better, key=seconds.__getitem__, default=plain)
    total = seconds[best] * sum(job.steps for job in jobs)
    threads = f" on {best.threads} thread" if best.threads else ""
    log.info("training %d reference models, %d at a time%s: about %.0f s", len(jobs), best.size, threads, max(1, total))
    return best


class Trial:
    """A few steps in one way; `seconds` of one step of one network: the best of the runs after the first."""

    def __init__(self, workshop: Workshop, jobs: Sequence[Job], way: Way) -> None:
        self.workshop, self.way = workshop, way
        self.jobs = [_short(job) for job in jobs[: way.size]]
        self.times: list[float] = []

    @property
    def seconds(self) -> float:
        """Infinite where it cannot be done."""
        return min(self.times[1:]) / (len(self.jobs) * self.jobs[0].steps)

    def run(self) -> None:
        """Train fresh networks; only the training is timed."""
        networks = [create(self.workshop.record, job.recipe.seed) for job in self.jobs]
        device = self.workshop.accelerator.device
        with on_threads(self.way.threads):
            start = time.perf_counter()
            try:
                self.workshop.train(networks, self.jobs)
            except RuntimeError as error:  # out of memory, or a network that torch.func cannot stack
                if self.way.size == 1:
                    raise
                log.debug("no stack of %d: %s", self.way.size, error)
                self.times.append(math.inf)
                return
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            self.times.append(time.perf_counter() - start)


def _short(job: Job) -> Job:
    return replace(job, rows=job.rows[: STEPS * job.recipe.batch_size], recipe=replace(job.recipe, epochs=1))


def _others(workshop: Workshop, jobs: Sequence[Job]) -> list[Way]:
    """The ways, beside the plain one, that are worth a measurement."""
    cuda = workshop.accelerator.device.type == "cuda"
    threads = [None] if cuda or torch.get_num_threads() == 1 else [None, 1]
    largest = MEASURING * sum(job.steps for job in jobs) / (STEPS * (1 + REPEATS))
    sizes = [size for size in _sizes(workshop, jobs, cuda) if size <= largest]
    singles = [Way(1, count) for count in threads if count and largest >= 1]
    return singles + [Way(size, count) for size in sizes for count in threads]


def _sizes(workshop: Workshop, jobs: Sequence[Job], cuda: bool) -> list[int]:
    network = create(workshop.record, 0)
    small = cuda or sum(parameter.numel() for parameter in network.parameters()) <= CPU_PARAMETERS
    if not small or not stackable(network, workshop.record.input_size or ()):
        return []
    longest = max(sum(len(job.rows) == len(other.rows) for other in jobs) for job in jobs)
    return sorted({min(size, longest) for size in (STACKS_CUDA if cuda else STACKS)} - {1})
