"""Projected gradient descent with random starts (Madry et al. 2018, arXiv 1706.06083, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from securitynet.attacks.evasion import EvasionEvidence
from securitynet.attacks.evasion._cascade import Cascade, Stage
from securitynet.attacks.evasion._descent import LOSSES, ascend
from securitynet.attacks.evasion._images import choose
from securitynet.attacks.evasion._victim import Victim
from securitynet.attacks.evasion.masking import Masking
from securitynet.attacks.resolve import code_of
from securitynet.errors import Skipped, UsageError, unknown
from securitynet.target import Target
from securitynet.threat import threat_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Pgd:
    """`restarts` random starts of `steps` steps each, of length `step` times epsilon over the number of steps; Linf or L2.

    `norm` and `epsilon` (a number or `8/255`) are by default those of the model's own threat model, else the usual ones of its
    dataset. `loss` is cross_entropy or margin. At most `images` test images are attacked, `batch` at once.
    """

    images: int = 500
    norm: str | None = None
    epsilon: float | str | None = None
    steps: int = 40
    step: float = 2.5
    restarts: int = 1
    loss: str = "cross_entropy"
    batch: int = 128

    @property
    def beside(self) -> tuple[Masking]:
        """What looks for signs that the number cannot be trusted."""
        return (Masking(norm=self.norm, epsilon=self.epsilon),)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)
        if min(self.images, self.steps, self.restarts, self.batch) < 1 or self.step <= 0:
            raise UsageError("evasion/pgd: images, steps, step, restarts and batch must be above zero")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> EvasionEvidence:
        """Return what became of the images. Raises Skipped for L1, in which the attack is not defined, and for volumes."""
        threat = threat_of(target.entry, self.norm, self.epsilon)
        if threat.norm == "L1":
            raise Skipped("projected gradient descent is for Linf and L2; evasion/autoattack has L1")
        chosen = choose(target, splits, self.images, accelerator)
        victim = Victim.of(target, accelerator.device)
        climb = partial(ascend, victim, threat=threat, steps=self.steps, step=self.step * threat.epsilon / self.steps)
        run = partial(climb, loss=LOSSES[self.loss], random=True)
        stages = [
            Stage(f"start {number + 1}", run, (self.steps, self.step, self.loss, number), self.steps + 1) for number in range(self.restarts)
        ]
        return Cascade(target, victim, chosen, threat, self.batch, splits.seed, code_of(self)).run(stages, accelerator)
