"""Knockoff: ask about random images, train a copy on the answers (Orekondy et al., 2019, arXiv 1812.02766, random selection)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.errors import UsageError
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

log = logging.getLogger(__name__)
SUITES = ("standard", "full")
BASE = Settings(repeats=3)  # so that intervals include the spread over seeds


@dataclass(frozen=True)
class Knockoff:
    """One curve over `budgets`, whose query sets nest: the target is asked once, about those of the largest.

    Of a pool that they exceed see Thief.sizes(). `preset` names the column of the study of 2024 that the settings
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
        budgets = thief.sizes(self.budgets)
        queries = thief.pool.order(splits.seed)[: budgets[-1]]
        thief.answer(queries)
        trainings = self.settings.repeats * (1 + thief.pool.labelled)
        seen = trainings * sum(thief.copier.images_seen(budget) for budget in budgets)
        log.info("knockoff: %d queries; %d trainings go through %d images in all", len(queries), trainings * len(budgets), seen)
        return thief.evidence([thief.steal(queries[:budget]) for budget in budgets], queries)
