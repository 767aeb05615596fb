"""Which classes go on: those whose masks shrink ahead of the others' (successive halving, Jamieson & Talwalkar 2016)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Sizes = NDArray[np.float64]
SHARE = 4  # one in so many goes on at each rung
FEWEST = 3  # after the first rung
CONTENDER = 1.5  # later, a mask at most so many times the smallest
CLEAR = 1.5  # where the smallest mask is not so many times smaller than the median one, no class can win


@dataclass(frozen=True, eq=False)
class Race:
    """Sizes [k] of the classes' masks: `latest`, each at the last rung it ran; `sizes`, made comparable.

    Where a class was abandoned, its size is carried on with the factor by which those behind the first shrank since; while
    one class runs alone, nothing is. `running` bool [k]; `rung` counts the rungs that were reached.
    """

    sizes: Sizes
    latest: Sizes
    running: NDArray[np.bool_]
    rung: int = 0

    @classmethod
    def start(cls, count: int) -> Race:
        """Return the race before the first rung."""
        unknown = np.full(count, np.nan)
        return cls(unknown, unknown, np.ones(count, dtype=bool))

    def reached(self, sizes: Sizes) -> Race:
        """Return the race at the next rung; `sizes` [k] is NaN where a class did not get there."""
        running = np.isfinite(sizes)
        latest = np.where(running, sizes, self.latest)
        race = replace(self, latest=latest, running=running, rung=self.rung + 1)
        if self.rung == 0:
            return replace(race, sizes=sizes)
        behind = running.copy()
        behind[int(np.where(running, sizes, np.inf).argmin())] = False
        if not behind.any():
            return race
        factor = float(np.median(sizes[behind] / self.sizes[behind]))
        return replace(race, sizes=np.where(running, sizes, self.sizes * factor))

    def going_on(self) -> NDArray[np.bool_]:
        """Return bool [k]: which of the running classes can still win. All False ends the race."""
        none, now = np.zeros(len(self.sizes), dtype=bool), np.where(self.running, self.latest, np.inf)
        if not self.running.any() or (self.rung > 1 and np.nanmedian(self.sizes) < CLEAR * np.nanmin(self.sizes)):
            return none
        fewest = FEWEST if self.rung == 1 else 1
        kept = none.copy()
        kept[np.argsort(now, kind="stable")[: max(fewest, len(now) // SHARE**self.rung)]] = True
        return kept & self.running & ((self.rung == 1) | (now <= CONTENDER * now.min()))
