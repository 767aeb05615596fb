"""Active stealing, uncertainty: ask next where the copy's answer has the largest entropy (ActiveThief, Pal et al., AAAI 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._active import grown
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing.knockoff import BASE
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Uncertainty:
    """`budgets` are the rounds: the first is drawn at random. `candidates`: images of the pool looked at in a round (0: all)."""

    budgets: tuple[int, ...] = (1000, 2500, 5000, 20000)
    candidates: int = 20000
    settings: Settings = BASE

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> StealingEvidence:
        """Return the copies of every budget, with their controls on the same images."""
        thief = Thief.of(target, splits, accelerator, self.settings)

        def choose(copy: Target, offered: NDArray[np.int64], asked: NDArray[np.int64], count: int) -> NDArray[np.int64]:
            return most_uncertain(thief.outputs(copy, offered).log_probabilities, count)

        return grown(thief, self.budgets, self.candidates, choose)


def most_uncertain(log_probabilities: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the rows int64 [count] of log-probabilities [n, k] with the largest entropy, largest first, of equals the first."""
    entropy = -(np.exp(log_probabilities) * log_probabilities).sum(axis=1)
    return np.argsort(-entropy, kind="stable")[:count]
