"""Judgement: what a test says about a model, the one rule behind `flagged`, the verdict and the page."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.02  # at which a model is flagged whose p-value rests on clean models of its own kind
NEAREST_LEVEL = 0.01  # what an alarm needs that rests on another dataset's clean models


@dataclass(frozen=True)
class Judgement:
    """A p-value, the level at or below which it flags the model, and what it rests on.

    `p_value` None: no test was possible. `level` None: no threshold is known. `calibrated`: the p-value rests on clean models of the
    model's own dataset and class count. `complete`: all that was planned was done.
    """

    p_value: float | None
    level: float | None
    calibrated: bool = True
    complete: bool = True

    @classmethod
    def at(cls, p_value: float | None, calibrated: bool, complete: bool = True) -> Judgement:
        """Return the judgement at the level that such a p-value needs; none where there is no p-value."""
        level = None if p_value is None else LEVEL if calibrated else NEAREST_LEVEL
        return cls(p_value, level, calibrated, complete)

    @property
    def flagged(self) -> bool | None:
        """Whether the p-value is at or below the level, None where one of them is not known."""
        return None if self.p_value is None or self.level is None else self.p_value <= self.level

    @property
    def word(self) -> str:
        """suspicious, clean, or cannot tell: nothing was tested, or not all was looked at and nothing found."""
        if self.flagged:
            return "suspicious"
        return "clean" if self.flagged is False and self.complete else "cannot tell"
