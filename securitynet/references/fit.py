"""How reference models are trained: one after the other or in stacks, whichever a short measurement finds faster."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from securitynet.cache import digest
from securitynet.entry import Entry
from securitynet.references.measure import Way, fastest, on_threads
from securitynet.references.networks import create
from securitynet.references.pool import Pool
from securitynet.references.stacked import train_stacked
from securitynet.training import Recipe, train

if TYPE_CHECKING:
    from accelerate import Accelerator


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

    def trained(self, jobs: Sequence[Job], way: Way | None = None, progress: bool | None = None) -> Iterator[tuple[Job, nn.Module]]:
        """Yield every job with its network as soon as it is trained, in the given way (None: as measured to be fastest)."""
        from accelerate.utils import tqdm

        if not jobs:
            return
        way = way or fastest(self, jobs)
        epochs, hidden = len(jobs) * jobs[0].recipe.epochs, not (sys.stderr.isatty() if progress is None else progress)
        with tqdm(total=epochs, desc="reference models", unit="epoch", disable=hidden, leave=False) as bar:
            for group in groups(jobs, way.size):
                with on_threads(way.threads):
                    networks = self.fit(group, bar.update)
                yield from zip(group, networks, strict=True)

    def fit(self, group: Sequence[Job], update: Callable[[int], Any] = lambda epochs: None) -> list[nn.Module]:
        """Return the trained networks of one group, in eval mode; an interrupted group goes on where it stopped."""
        networks = [create(self.record, job.recipe.seed) for job in group]
        name = digest(torch.__version__, [job.key for job in group])  # another version may draw other initial weights
        checkpoint = self.folder / f"{name}.safetensors" if self.folder else None
        self.train(networks, group, checkpoint, update)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        return networks

    def train(
        self,
        networks: Sequence[nn.Module],
        group: Sequence[Job],
        checkpoint: Path | None = None,
        update: Callable[[int], Any] = lambda epochs: None,
    ) -> None:
        """Train `networks` in place, one for each job of `group`: together where there are several. `update` is told of epochs done."""
        images, labels = self.pool.images, torch.from_numpy(self.pool.labels)
        if len(group) == 1:
            rows = group[0].rows
            train(networks[0], images[rows], labels[rows], group[0].recipe, self._world, checkpoint=checkpoint)
            update(group[0].recipe.epochs)
            return
        device = self.accelerator.device
        rows, recipes = torch.stack([job.rows for job in group]), [job.recipe for job in group]
        data = images.to(device), labels.to(device)
        train_stacked(networks, *data, rows, recipes, checkpoint=checkpoint, after_epoch=lambda number: update(len(group)))

    @property
    def _world(self) -> Any:
        return self.accelerator if self.accelerator.num_processes == 1 else Alone(self.accelerator.device)


def groups(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Cut the jobs into groups of at most `size` with training sets of one size, in order of their index."""
    cut: list[list[Job]] = []
    for length in sorted({len(job.rows) for job in jobs}):
        same = [job for job in jobs if len(job.rows) == length]
        cut += [same[start : start + size] for start in range(0, len(same), size)]
    return sorted(cut, key=lambda group: group[0].index)
