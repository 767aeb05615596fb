"""AutoAttack: APGD-CE, APGD-T, FAB-T and Square, one after the other (Croce & Hein 2020, arXiv 2003.01690; L1: 2021, arXiv 2103.01208).

Order and settings are those of its standard version. Before it, FGSM and an APGD of ten steps screen the images: what they fool is not
attacked again, which changes no result, as an image counts as fooled if any attack fools the model with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from securitynet.attacks.evasion import ROBUST, WRONG, EvasionEvidence
from securitynet.attacks.evasion._cascade import Cascade, Stage
from securitynet.attacks.evasion._descent import ascend, cross_entropy, flat
from securitynet.attacks.evasion._images import Chosen, choose
from securitynet.attacks.evasion._library import apgd, stages
from securitynet.attacks.evasion._victim import Victim
from securitynet.attacks.evasion.masking import Masking, differs
from securitynet.attacks.resolve import code_of
from securitynet.errors import UsageError, unknown
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.vocabulary import MASKING_SIGNS
from securitynet.target import Target
from securitynet.threat import Threat, threat_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")
VERSIONS = ("standard", "rand")
FEW = 32  # images that are looked at beforehand
SHORT = 10  # steps of the APGD that screens
BY_SQUARE = 0.002  # of all images: more that only Square fools are a sign of masked gradients, as AutoAttack's own checks have it


@dataclass(frozen=True)
class AutoAttack:
    """At most `images` test images, `batch` at once, in the threat model of pgd.Pgd.

    `version` is standard, or rand (APGD on cross-entropy and DLR loss, 20 gradients averaged per step) for random models, which
    takes the place of standard where two passes differ. With other `iterations` or `queries` than these it is not AutoAttack.
    """

    images: int = 500
    norm: str | None = None
    epsilon: float | str | None = None
    version: str = "standard"
    screen: bool = True
    iterations: int = 100
    queries: int = 5000
    batch: int = 128

    @property
    def beside(self) -> tuple[Masking]:
        """What looks for signs that the number cannot be trusted."""
        return (Masking(norm=self.norm, epsilon=self.epsilon),)

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise unknown("version", self.version, VERSIONS)
        if min(self.images, self.iterations, self.queries, self.batch) < 1:
            raise UsageError("evasion/autoattack: images, iterations, queries and batch must be above zero")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> EvasionEvidence:
        """Return what became of the images. Raises Skipped for volumes."""
        threat = threat_of(target.entry, self.norm, self.epsilon)
        chosen = choose(target, splits, self.images, accelerator)
        victim = Victim.of(target, accelerator.device)
        version, remark = self.version, None
        random, victim = looked_at(victim, chosen)
        if version == "standard" and random:
            version, remark = "rand", "the model is random: version rand, 20 gradients averaged per step"
        standard = stages(victim, threat, target.num_classes, version, (self.iterations, self.queries), splits.seed)
        screens = screen(victim, threat, splits.seed) if self.screen and version == "standard" else ()
        run = Cascade(target, victim, chosen, threat, self.batch, splits.seed, code_of(self))
        return with_square(run.run([*screens, *standard], accelerator, remark))


def screen(victim: Victim, threat: Threat, seed: int) -> Sequence[Stage]:
    """Return FGSM (Goodfellow et al. 2015, arXiv 1412.6572; of Linf and L2) and a short APGD."""
    short = apgd(victim, threat, "ce", SHORT, seed)
    if threat.norm == "L1":
        return [replace(short, name="short apgd-ce")]
    once = partial(ascend, victim, threat=threat, steps=1, step=threat.epsilon, loss=cross_entropy, random=False)
    return [Stage("fgsm", once, ("fgsm",), 2), replace(short, name="short apgd-ce")]


def looked_at(victim: Victim, chosen: Chosen) -> tuple[bool, Victim]:
    """Say whether two passes over a few of the images differ; return the victim, in double precision where that revives gradients."""
    rows = np.flatnonzero(chosen.right)[:FEW]
    if not len(rows):
        return False, victim
    images = chosen.part.pixels(rows).to(victim.device)
    labels = torch.from_numpy(chosen.part.labels[rows]).to(victim.device)
    dead = flat(victim.followed, images, labels)
    other = victim.doubled() if dead.any() else victim
    revived = dead.any() and (dead & ~flat(other.followed, images, labels)).any()
    return differs(victim.judged, images), other if revived else victim


def with_square(evidence: EvasionEvidence) -> EvasionEvidence:
    """Return the evidence with a sign of masking where Square fools what no gradient led to."""
    if "square" not in evidence.stages:
        return evidence
    only = int((evidence.by == evidence.stages.index("square")).sum())
    n, left = len(evidence.by), int((evidence.by == ROBUST).sum())
    sign = only > BY_SQUARE * n
    reason = f"Square fools the model with {only} of {left + only} images that no attack with gradients fools it with" if sign else None
    return replace(evidence, further=(Estimate(MASKING_SIGNS, float(sign), n - int((evidence.by == WRONG).sum()), reason=reason),))
