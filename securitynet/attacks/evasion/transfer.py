"""Adversarial images made on a copy of the model, tried on the model itself: what is fooled without its gradients.

The copy is that of stealing/knockoff with the same settings: where that has run, its trained weights are read and nothing is queried
again. On the copy APGD on the cross-entropy is run (see autoattack).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from securitynet.attacks.evasion import EvasionEvidence
from securitynet.attacks.evasion._cascade import Cascade
from securitynet.attacks.evasion._images import choose
from securitynet.attacks.evasion._library import apgd
from securitynet.attacks.evasion._victim import Victim
from securitynet.attacks.resolve import code_of
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.errors import UsageError
from securitynet.target import Target
from securitynet.threat import threat_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
BASE = Settings()


@dataclass(frozen=True)
class Transfer:
    """At most `images` test images, in the threat model of pgd.Pgd; a copy trained on `budget` queries, `iterations` of APGD on it."""

    takes: ClassVar[str] = "outputs"
    images: int = 500
    norm: str | None = None
    epsilon: float | str | None = None
    budget: int = 5000
    iterations: int = 100
    batch: int = 128
    settings: Settings = BASE

    def __post_init__(self) -> None:
        if min(self.images, self.iterations, self.batch) < 1 or self.budget < 2:
            raise UsageError("evasion/transfer: images, iterations and batch must be above zero, the budget at least two queries")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> EvasionEvidence:
        """Return what became of the images; its queries are those of the copy, and two for each image."""
        threat = threat_of(target.entry, self.norm, self.epsilon)
        chosen = choose(target, splits, self.images, accelerator)
        thief = Thief.of(target, splits, accelerator, self.settings)
        (budget,) = thief.sizes((self.budget,))
        asked = thief.pool.order(splits.seed)[:budget]
        copy = thief.fit(asked, thief.answer(asked))
        copy.module.requires_grad_(False)
        surrogate, victim = Victim.of(copy, accelerator.device), Victim.of(target, accelerator.device)
        stage = apgd(surrogate, threat, "ce", self.iterations, splits.seed)
        stage = replace(stage, settings=(*stage.settings, copy.fingerprint))
        run = Cascade(target, replace(victim, remark=None), chosen, threat, self.batch, splits.seed, code_of(self))
        found = run.run([stage], accelerator)
        outputs = thief.outputs(copy)
        right = float((outputs.predictions == outputs.labels).mean())
        remark = f"made on a copy trained with {budget:,} queries, which classifies {right:.1%} of the test images rightly"
        return replace(found, forward=found.forward + thief.queries, remark=remark)
