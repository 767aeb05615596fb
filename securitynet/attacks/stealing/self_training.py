"""Self-training: the part of the pool that was not queried is learned too, with what a first surrogate predicts for it.

Pseudo-labels (Lee 2013) in rounds, as in noisy student (Xie et al., CVPR 2020): the student sees shifted and mirrored images where the
settings augment, the teacher's predictions are for the plain ones. Costs computing time, no query.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from securitynet.attacks.stealing import Copy, StealingEvidence
from securitynet.attacks.stealing._pools import Positions
from securitynet.attacks.stealing._reading import read
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing.knockoff import BASE
from securitynet.errors import UsageError
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
SURE = 0.8  # probability from which on a class is a pseudo-label, where the target returns labels


@dataclass(frozen=True)
class SelfTraining:
    """`rounds` of students, each taught by the one before; `unqueried`: at most so many images of the pool are learned besides the queries.

    The control goes through the same rounds with the true labels of the queried images.
    """

    budgets: tuple[int, ...] = (1000, 2500, 5000, 20000)
    rounds: int = 1
    unqueried: int = 20_000
    settings: Settings = BASE

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.unqueried < 1:
            raise UsageError("stealing: rounds and unqueried must be at least 1")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> StealingEvidence:
        """Return the surrogates of every budget, with their controls."""
        thief = Thief.of(target, splits, accelerator, self.settings)
        order = thief.pool.order(thief.seed)
        sizes = thief.sizes(self.budgets)
        return thief.evidence([self._steal(thief, order, size) for size in sizes], order[: sizes[-1]])

    def _steal(self, thief: Thief, order: Positions, size: int) -> Copy:
        queried, rest = order[:size], order[size : size + self.unqueried]
        learned, tried = read(thief, queried)
        repeats = range(self.settings.repeats)
        surrogates = [self._last(thief, queried, rest, learned, repeat) for repeat in repeats]
        controls = None
        if thief.pool.labelled:
            controls = [self._last(thief, queried, rest, thief.labels(queried), repeat) for repeat in repeats]
        seen = thief.copier.images_seen(size) + self.rounds * thief.copier.images_seen(size + len(rest))
        return replace(thief.copy_of(size, surrogates, seen, controls), tried=tried)

    def _last(self, thief: Thief, queried: Positions, rest: Positions, targets: Tensor, repeat: int) -> Target:
        """Return the last student of a surrogate trained on `targets`, labels or probabilities."""
        surrogate = thief.fit(queried, targets, repeat)
        for _ in range(self.rounds if len(rest) else 0):
            positions, taught = _taught(thief, surrogate, queried, rest, targets)
            surrogate = thief.fit(positions, taught, repeat)
        return surrogate


def _taught(thief: Thief, teacher: Target, queried: Positions, rest: Positions, targets: Tensor) -> tuple[Positions, Tensor]:
    """Return the images of a round and their targets: those of the queries, and the teacher's for the rest.

    Probabilities are taken over as they are; of labels those that the teacher is SURE of.
    """
    predicted = np.exp(thief.outputs(teacher, rest).log_probabilities)
    if targets.ndim == 2:
        return np.concatenate([queried, rest]), torch.cat([targets, torch.from_numpy(predicted.astype(np.float32))])
    sure = predicted.max(axis=1) >= SURE
    return np.concatenate([queried, rest[sure]]), torch.cat([targets, torch.from_numpy(predicted[sure].argmax(axis=1))])
