"""Active stealing, k-center: ask next about what lies farthest from all that was asked.

Greedy k-center (Gonzalez 1985; as core set, Sener & Savarese, ICLR 2018) on the copy's probabilities, as in ActiveThief (Pal
et al., AAAI 2020), or on what goes into its last layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._active import grown
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing.knockoff import BASE
from securitynet.errors import UsageError
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
SPACES = ("probabilities", "features")
CHUNK = 2048  # rows of distances at a time


@dataclass(frozen=True)
class KCenter:
    """`budgets` are the rounds: the first is drawn at random. `candidates`: images of the pool looked at in a round (0: all).

    `space`: probabilities or features, what the distances (L2) are between.
    """

    budgets: tuple[int, ...] = (1000, 2500, 5000, 20000)
    candidates: int = 20000
    space: str = "probabilities"
    settings: Settings = BASE

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise UsageError(f"stealing: unknown space {self.space!r}; known: {', '.join(SPACES)}")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> StealingEvidence:
        """Return the copies of every budget, with their controls on the same images."""
        thief = Thief.of(target, splits, accelerator, self.settings)

        def points(copy: Target, positions: NDArray[np.int64]) -> torch.Tensor:
            if self.space == "features":
                return torch.from_numpy(thief.features(copy, positions))
            return torch.from_numpy(np.exp(thief.outputs(copy, positions).log_probabilities).astype(np.float32))

        def choose(copy: Target, offered: NDArray[np.int64], asked: NDArray[np.int64], count: int) -> NDArray[np.int64]:
            device = accelerator.device
            return farthest_first(points(copy, offered).to(device), points(copy, asked).to(device), count)

        return grown(thief, self.budgets, self.candidates, choose)


def farthest_first(points: torch.Tensor, centres: torch.Tensor, count: int) -> NDArray[np.int64]:
    """Return `count` distinct rows of `points` float [n, d], each the farthest (L2) from `centres` [m, d] and those before it."""
    away = torch.cat([torch.cdist(part, centres).amin(dim=1) for part in points.split(CHUNK)])
    chosen = torch.empty(count, dtype=torch.long, device=points.device)
    for place in range(count):
        chosen[place] = away.argmax()
        centre = points[chosen[place]]
        away = torch.minimum(away, (points - centre).norm(dim=1))
        away[chosen[place]] = -1.0  # not again, even where all others coincide with centres
    return chosen.cpu().numpy()
