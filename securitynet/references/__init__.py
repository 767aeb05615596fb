"""Reference models: networks trained as the model under test may have been, on halves of the same images.

Their outputs show what a model that did, or did not, hold an image would return; the attacks that calibrate by them read
one matrix of logits, trained once per pool of images whatever the model under test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from securitynet.cache import ArrayCache
from securitynet.data import Splits
from securitynet.errors import TrainingError, UsageError
from securitynet.references.maker import Change, Logits, Maker
from securitynet.references.pool import Pool, halves
from securitynet.references.share import completed, gathered
from securitynet.target import Outputs
from securitynet.training import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.references.fit import Job

__all__ = ["ReferenceSettings", "References", "reference_answers", "reference_networks"]

REMEMBER = Recipe(epochs=60, optimiser="adamw", learning_rate=0.01, weight_decay=0.0)


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """How many reference models, and how they are made.

    `architecture` is `auto` (a small residual network that suits the images) or a name as in the catalog, with its
    arguments as JSON. The recipe's own seed is not used: model i trains with a seed made of `seed` and i.
    """

    count: int = 16
    architecture: str = "auto"
    architecture_args: str | None = None
    recipe: Recipe = REMEMBER
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"reference models: count must be at least 1, not {self.count}")
        if self.recipe.patience is not None:
            raise UsageError("reference models: patience cannot be used, there are no validation images")
        if self.recipe.clip is not None:
            raise UsageError("reference models: clip cannot be used, they may be trained in stacks")


@dataclass(frozen=True, eq=False)
class References:
    """What the models return on members, then non-members: n images in all, with labels int64 [n] as trained.

    `logits` float32 [count, n, classes]; `held` bool [n, count] says which model was trained on which image.
    """

    logits: NDArray[np.float32]
    held: NDArray[np.bool_]
    labels: NDArray[np.int64]

    def statistic(self, score: Callable[[Outputs], NDArray[np.floating]]) -> NDArray[np.float64]:
        """Return `score` of every model's outputs, float64 [n, count]."""
        columns = [np.asarray(score(Outputs(logits, self.labels)), dtype=np.float64) for logits in self.logits]
        return np.stack(columns, axis=1)


def reference_answers(
    splits: Splits,
    settings: ReferenceSettings,
    accelerator: Accelerator,
    cache: ArrayCache,
    change: Change | None = None,
    *,
    progress: bool | None = None,
) -> References:
    """Return what the reference models return on members and non-members, trained where `cache` does not have them.

    Every model is one entry of the cache, so an interrupted call goes on where it stopped, and the first k models serve
    every k; processes share the work. `change` wraps a model, for outputs on changed images. The bar is shown where
    stderr is a terminal (`progress` None). Raises Skipped where the splits cannot serve, UsageError for a bad
    architecture, TrainingError where a model diverges.
    """
    pool = Pool.of(splits)
    held = halves(len(pool), settings.count, settings.seed)
    maker = Maker(pool, settings, accelerator, cache, change)
    jobs = [maker.job(index, held[:, index]) for index in range(settings.count)]
    found = {job.index: logits for job in jobs if (logits := maker.known(job)) is not None}
    anywhere = {index for have in gathered(list(found), accelerator) for index in have}
    missing = [job for job in jobs if job.index not in anywhere]
    found |= _share(maker, missing[accelerator.process_index :: accelerator.num_processes], accelerator, progress)
    back = np.argsort(pool.order)
    logits = np.stack([one[back] for one in completed(found, settings.count, accelerator)])
    return References(logits, held[back], pool.labels[back])


def reference_networks(
    splits: Splits, settings: ReferenceSettings, accelerator: Accelerator, cache: ArrayCache
) -> list[tuple[nn.Module, NDArray[np.bool_]]]:
    """Return the networks themselves, which take pixels in [0,1] and return logits, and which of members, then non-members each held.

    They are trained where `cache` does not have them; raises as reference_answers() does.
    """
    held = reference_answers(splits, settings, accelerator, cache).held
    maker = Maker(Pool.of(splits), settings, accelerator, cache)
    order = maker.pool.order
    jobs = [maker.job(index, held[order][:, index]) for index in range(settings.count)]
    return [(maker.network(job), held[:, job.index]) for job in jobs]


def _share(maker: Maker, mine: Sequence[Job], accelerator: Accelerator, progress: bool | None) -> dict[int, Logits]:
    """Do this process's share; where one process fails all fail, lest the others wait for it."""
    found: dict[int, Logits] = {}
    failure = None
    try:
        found = maker.made(mine, progress)
    except TrainingError as error:
        failure = str(error)
    for one in gathered(failure, accelerator):
        if one is not None:
            raise TrainingError(one)
    return found
