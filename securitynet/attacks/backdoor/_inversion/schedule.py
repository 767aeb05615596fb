"""The weight of the mask's size against success, class by class: the schedule of Neural Cleanse (Wang et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from securitynet.attacks.backdoor._inversion.settings import InversionSettings

RAISE, LOWER = 2.0, 2.0**1.5


class Schedule(NamedTuple):
    """One value per class: the `cost`, and what decides when it changes.

    `armed`: steps in a row with success while the cost is zero. `wins`, `losses`: steps in a row with and without success.
    `raised`, `lowered`: whether the cost did so since it was set. `stale`: steps since the smallest mask was found.
    """

    cost: Tensor
    armed: Tensor
    wins: Tensor
    losses: Tensor
    raised: Tensor
    lowered: Tensor
    stale: Tensor

    @classmethod
    def start(cls, count: int, device: torch.device) -> Schedule:
        """Return the schedule of `count` classes: the cost is zero until success has lasted."""
        zero, no = torch.zeros(count, dtype=torch.long, device=device), torch.zeros(count, dtype=torch.bool, device=device)
        return cls(torch.zeros(count, device=device), zero, zero, zero, no, no, zero)

    def step(self, won: Tensor, smaller: Tensor, first: float, settings: InversionSettings) -> Schedule:
        """Return the schedule after a step: `won` bool [k], success was reached; `smaller`, so was the smallest mask yet.

        `first` is the cost that is set after `settings.patience` successes in a row.
        """
        armed = torch.where((self.cost == 0) & won, self.armed + 1, 0)
        set_now = armed >= settings.patience
        cost = torch.where(set_now, first, self.cost)
        wins = torch.where(won, torch.where(set_now, 0, self.wins) + 1, 0)
        losses = torch.where(won, 0, torch.where(set_now, 0, self.losses) + 1)
        up, down = wins >= settings.patience, losses >= settings.patience
        cost = torch.where(up, cost * RAISE, torch.where(down, cost / LOWER, cost))
        return Schedule(
            cost,
            torch.where(set_now, 0, armed),
            torch.where(up, 0, wins),
            torch.where(down, 0, losses),
            (self.raised & ~set_now) | up,
            (self.lowered & ~set_now) | down,
            torch.where(smaller, 0, self.stale + 1),
        )

    def ended(self, settings: InversionSettings) -> Tensor:
        """Return bool [k]: the cost went both ways and no smaller mask was found for `5 * patience` steps."""
        return self.raised & self.lowered & (self.stale >= 5 * settings.patience)
