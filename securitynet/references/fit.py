"""How reference models are trained: one after the other or in stacks, whichever a short measurement finds faster."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from securitynet.cache import digest
from securitynet.entry import Entry
from securitynet.references.networks import create, stackable
from securitynet.references.pool import Pool
from securitynet.references.stacked import train_stacked
from securitynet.training import Recipe, train

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)
STACKS = (4, 16)  # sizes tried
STACKS_CUDA = (4, 16, 64)
STEPS, REPEATS = 3, 2  # of a measurement
MEASURING = 0.03  # at most this share of the whole training goes into measuring one way
MARGIN = 0.9  # a stack must take less than this share of the time, so that noise does not choose it
CPU_PARAMETERS = 500_000  # beyond, a processor is busy with one network, and stacks would only take memory


@dataclass(frozen=True, eq=False)
class Job:
    """One reference model to be trained: `rows` int64 [m] of the pool, `recipe` with its own seed, `key` in the cache."""

    index: int
    key: str
    rows: Tensor
    recipe: Recipe

    @property
    def steps(self) -> int:
        """Gradient steps of the whole training, about."""
        return self.recipe.epochs * math.ceil(len(self.rows) / self.recipe.batch_size)


@dataclass(frozen=True)
class Alone:
    """What training asks of an Accelerator, for one process that trains by itself while others train other networks."""

    device: torch.device
    num_processes: int = 1
    process_index: int = 0
    is_main_process: bool = True

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""
        loss.backward()

    def reduce(self, tensor: Tensor, reduction: str = "sum") -> Tensor:
        """Return the tensor: there is nothing to add."""
        return tensor

    def unwrap_model(self, model: nn.Module, keep_fp32_wrapper: bool = False) -> nn.Module:
        """Return the model, which nobody has wrapped."""
        return model

    def wait_for_everyone(self) -> None:
        """Go on."""


@dataclass(frozen=True, eq=False)
class Workshop:
    """Where jobs are done: `record` says what is built, `pool` has the images, `folder` takes the checkpoints (None: none are kept)."""

    record: Entry
    pool: Pool
    accelerator: Accelerator
    folder: Path | None = None

    def trained(self, jobs: Sequence[Job], way: int | None = None, progress: bool | None = None) -> Iterator[tuple[Job, nn.Module]]:
        """Yield every job with its network as soon as it is trained; `way` networks at a time (None: as measured to be fastest)."""
        from accelerate.utils import tqdm

        if not jobs:
            return
        size = self.fastest(jobs) if way is None else way
        epochs = jobs[0].recipe.epochs
        hidden = not (sys.stderr.isatty() if progress is None else progress)
        with tqdm(total=len(jobs) * epochs, desc="reference models", unit="epoch", disable=hidden, leave=False) as bar:
            for group in groups(jobs, size):
                yield from zip(group, self.fit(group, bar.update), strict=True)

    def fit(self, group: Sequence[Job], update: Callable[[int], Any] = lambda epochs: None, keep: bool = True) -> list[nn.Module]:
        """Return the trained networks of one group, in eval mode; an interrupted group goes on where it stopped."""
        networks = [create(self.record, job.recipe.seed) for job in group]
        checkpoint = self._checkpoint(group) if keep else None
        device = self.accelerator.device
        images, labels = self.pool.images, torch.from_numpy(self.pool.labels)
        if len(group) == 1:
            rows = group[0].rows
            train(networks[0], images[rows], labels[rows], group[0].recipe, self._world, checkpoint=checkpoint)
            update(group[0].recipe.epochs)
        else:
            rows, recipes = torch.stack([job.rows for job in group]), [job.recipe for job in group]
            data = images.to(device), labels.to(device)
            train_stacked(networks, *data, rows, recipes, checkpoint=checkpoint, after_epoch=lambda number: update(len(group)))
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        return networks

    def fastest(self, jobs: Sequence[Job]) -> int:
        """Return how many networks to train at a time, 1 unless a stack was measured to be faster; log the estimate."""
        seconds = {1: self.seconds(jobs[:1])}
        for size in self._sizes(jobs):
            try:
                seconds[size] = self.seconds(jobs[:size])
            except RuntimeError as error:  # out of memory, or a network that torch.func cannot stack
                log.debug("no stack of %d: %s", size, error)
        stacks = [size for size in seconds if size > 1 and seconds[size] < MARGIN * seconds[1]]
        best = min(stacks, key=seconds.__getitem__, default=1)
        total = seconds[best] * sum(job.steps for job in jobs)
        log.info("training %d reference models, %d at a time: about %.0f s", len(jobs), best, max(1, total))
        return best

    def seconds(self, group: Sequence[Job]) -> float:
        """Return the measured time of one step of one network when `group` is trained together: the best of a few, after a warm-up."""
        short = [replace(job, rows=job.rows[: STEPS * job.recipe.batch_size], recipe=replace(job.recipe, epochs=1)) for job in group]
        times = []
        for _ in range(1 + REPEATS):
            start = time.perf_counter()
            self.fit(short, keep=False)
            if self.accelerator.device.type == "cuda":
                torch.cuda.synchronize(self.accelerator.device)
            times.append(time.perf_counter() - start)
        return min(times[1:]) / (len(group) * short[0].steps)

    def _sizes(self, jobs: Sequence[Job]) -> list[int]:
        """The stacks that are worth a measurement."""
        network = create(self.record, 0)
        cuda = self.accelerator.device.type == "cuda"
        small = cuda or sum(parameter.numel() for parameter in network.parameters()) <= CPU_PARAMETERS
        if not small or not stackable(network, self.record.input_size or ()):
            return []
        largest = MEASURING * sum(job.steps for job in jobs) / (STEPS * (1 + REPEATS))
        sizes = {min(size, len(jobs)) for size in (STACKS_CUDA if cuda else STACKS)}
        return sorted(size for size in sizes if 1 < size <= largest)

    @property
    def _world(self) -> Any:
        return self.accelerator if self.accelerator.num_processes == 1 else Alone(self.accelerator.device)

    def _checkpoint(self, group: Sequence[Job]) -> Path | None:
        return self.folder / f"{digest([job.key for job in group])}.safetensors" if self.folder else None


def groups(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Cut the jobs into groups of at most `size` with training sets of one size, in order of their index."""
    cut: list[list[Job]] = []
    for length in sorted({len(job.rows) for job in jobs}):
        same = [job for job in jobs if len(job.rows) == length]
        cut += [same[start : start + size] for start in range(0, len(same), size)]
    return sorted(cut, key=lambda group: group[0].index)
