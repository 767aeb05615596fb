"""Square: random squares of pixels, kept where the lead of the label shrinks (Andriushchenko et al. 2020, arXiv 1912.00049).

It reads outputs only, so it works on endpoints, which are sent images of 8 bits.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from securitynet.attacks.evasion import EvasionEvidence
from securitynet.attacks.evasion._cascade import Cascade
from securitynet.attacks.evasion._images import choose
from securitynet.attacks.evasion._library import square
from securitynet.attacks.evasion._victim import Victim
from securitynet.attacks.resolve import code_of
from securitynet.errors import UsageError
from securitynet.target import Target
from securitynet.threat import threat_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

log = logging.getLogger(__name__)
SUITES = ("full",)


@dataclass(frozen=True)
class Square:
    """At most `queries` queries for each of at most `images` test images, in the threat model of pgd.Pgd."""

    takes: ClassVar[str] = "outputs"
    images: int = 500
    norm: str | None = None
    epsilon: float | str | None = None
    queries: int = 5000
    batch: int = 128

    def __post_init__(self) -> None:
        if min(self.images, self.queries, self.batch) < 1:
            raise UsageError("evasion/square: images, queries and batch must be above zero")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> EvasionEvidence:
        """Return what became of the images. Raises Skipped for volumes, and where an endpoint's budget ends."""
        threat = threat_of(target.entry, self.norm, self.epsilon)
        chosen = choose(target, splits, self.images, accelerator)
        victim = Victim.of(target, accelerator.device)
        log.info("square: at most %d queries", chosen.right.sum() * self.queries)
        stages = [square(victim, threat, self.queries, splits.seed)]
        return Cascade(target, victim, chosen, threat, self.batch, splits.seed, code_of(self)).run(stages, accelerator)
