"""How triggers are searched for."""

from __future__ import annotations

from dataclasses import dataclass

from securitynet.errors import UsageError

FIRST_RUNG = 20  # before, masks have hardly begun to shrink


@dataclass(frozen=True, kw_only=True)
class InversionSettings:
    """Hyper-parameters of trigger inversion.

    A step is `updates` batches of `batch_size` images for each class; the rate of `success` that counts is that of a step.
    The mask's cost, zero at first, is `initial_cost` (at 32 x 32 pixels; per pixel it is the same at every size) once success
    has lasted `patience` steps. At most `images` images are used to search, as many others to measure the success.
    `exhaustive` carries every class through all steps; otherwise those that cannot win are abandoned, and the last is carried
    two fifths of the way, at least 80 steps. Masks and patterns have one value for `coarse` x `coarse` pixels: at 224 x 224, a
    coarse one is found in fewer steps. `budget` bounds the search, in passes (see attacks.backdoor._classes.passes).
    """

    steps: int = 200
    updates: int = 4
    batch_size: int = 8
    learning_rate: float = 0.1
    success: float = 0.99
    initial_cost: float = 1e-3
    patience: int = 5
    images: int = 256
    exhaustive: bool = False
    coarse: int = 1
    budget: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.updates, self.batch_size, self.patience, self.images) < 1:
            raise UsageError("trigger inversion: steps, updates, batch_size, patience and images must be at least 1")
        if min(self.learning_rate, self.initial_cost) <= 0 or not 0 < self.success <= 1:
            raise UsageError("trigger inversion: learning_rate and initial_cost must be above zero, success in (0, 1]")
        if self.coarse < 1 or (self.budget is not None and self.budget <= 0):
            raise UsageError("trigger inversion: coarse must be at least 1, budget above zero")

    @property
    def per_step(self) -> int:
        """Images that a step sends forward and backward for a class."""
        return self.updates * self.batch_size

    @property
    def rungs(self) -> tuple[int, ...]:
        """Steps at which classes are compared; the search ends at the last, two fifths of the way unless exhaustive."""
        if self.exhaustive:
            return (self.steps,)
        first = max(FIRST_RUNG, self.steps // 10)
        return tuple(sorted({min(self.steps, first * share) for share in (1, 2, 4)}))
