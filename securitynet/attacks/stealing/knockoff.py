"""Knockoff: ask about random images, train a copy on the answers (Orekondy et al., 2019, arXiv 1812.02766, random selection)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing.thief import Settings, Thief
from securitynet.errors import Skipped, UsageError
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")
BASE = Settings()


@dataclass(frozen=True)
class Knockoff:
    """One curve over `budgets`, whose query sets nest: the target is asked once, about those of the largest.

    Budgets beyond the pool are replaced by the whole pool. `preset` names the column of the study of 2024 that the settings
    stand for: base, wide_surrogate or ood_queries. Its own settings were not published; these are ours.
    """

    preset: str = "base"
    budgets: tuple[int, ...] = (1000, 2500, 5000, 20000)
    settings: Settings = BASE

    def __post_init__(self) -> None:
        if not self.budgets or min(self.budgets) < 2:
            raise UsageError(f"stealing: budgets {list(self.budgets)} must be at least two queries each")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> StealingEvidence:
        """Return the copies of every budget, with their controls."""
        thief = Thief.of(target, splits, accelerator, self.settings)
        budgets = sorted({min(budget, len(thief.pool)) for budget in self.budgets})
        if budgets[-1] < 2:
            raise Skipped(f"needs at least two images to ask about, the pool has {len(thief.pool)}")
        queries = thief.pool.order(splits.seed)[: budgets[-1]]
        thief.answer(queries)
        return thief.evidence([thief.steal(queries[:budget]) for budget in budgets], queries)
