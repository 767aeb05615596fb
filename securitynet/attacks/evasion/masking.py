"""Signs that gradients do not lead an attack where it should go (Athalye et al. 2018, arXiv 1802.00420, section 3; Carlini et al. 2019,
arXiv 1902.06705; the checks of AutoAttack).

Gradients are those of the lead of another class in logits, which logits of any size leave intact. A model with any of these signs may be
less robust than attacks with gradients say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from securitynet.attacks.evasion import within
from securitynet.attacks.evasion._ball import start
from securitynet.attacks.evasion._cascade import seeded
from securitynet.attacks.evasion._descent import ascend, flat, lead
from securitynet.attacks.evasion._images import choose
from securitynet.attacks.evasion._library import square
from securitynet.attacks.evasion._victim import Victim
from securitynet.errors import Skipped, UsageError
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.vocabulary import MASKING_SIGNS
from securitynet.target import Target
from securitynet.threat import Threat, threat_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")
FEWEST = 8  # images below which nothing is said
PASSES, APART = 5, 1e-4  # passes, and the distance of normalised logits that makes a model random: those of AutoAttack
SHARE = 0.05  # of the images: fewer with no gradient, or that nothing fools, are no sign
LEVEL = 0.01  # of the exact McNemar tests
STEPS = 40
PROBES, AROUND = 8, 4.0  # random points at which a gradient is looked for, within so many epsilons: provably robust models are flat nearby
Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class MaskingEvidence:
    """`found` maps each sign to what was seen; `counts` what was counted for all of them, over `n` images."""

    family: ClassVar[str] = "evasion"
    threat: Threat
    found: Mapping[str, str]
    counts: Mapping[str, float]
    n: int
    queries: int
    fooled: Mapping[str, np.ndarray] = field(default_factory=dict)

    def metrics(self) -> list[Estimate]:
        """Return the number of signs, with what was seen."""
        reason = "; ".join(self.found.values()) or None
        return [within(Estimate(MASKING_SIGNS, float(len(self.found)), self.n, reason=reason), self.threat)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what was counted, and what each attack fooled."""
        return {**{name: np.asarray(value) for name, value in self.counts.items()}, **self.fooled}


@dataclass(frozen=True)
class Masking:
    """Looks at `images` images that are classified rightly; Square has `queries` queries for each. The threat model is that of Pgd."""

    images: int = 64
    norm: str | None = None
    epsilon: float | str | None = None
    queries: int = 500

    def __post_init__(self) -> None:
        if self.images < FEWEST or self.queries < 1:
            raise UsageError(f"evasion/masking: images must be at least {FEWEST}, queries at least 1")

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MaskingEvidence:
        """Return the signs. Raises Skipped where the model classifies too few images rightly."""
        threat = threat_of(target.entry, self.norm, self.epsilon)
        chosen = choose(target, splits, 4 * self.images, accelerator)
        rows = np.flatnonzero(chosen.right)[: self.images]
        if len(rows) < FEWEST:
            raise Skipped(f"the model classifies {len(rows)} of {len(chosen.part)} images rightly; {FEWEST} are needed")
        victim = Victim.of(target, accelerator.device)
        images = chosen.part.pixels(rows).to(victim.device)
        labels = torch.from_numpy(chosen.part.labels[rows]).to(victim.device)
        return _Look(victim, images, labels, threat, self.queries, splits.seed).evidence()


def differs(module: nn.Module, images: Tensor, context: Callable[[], Any] = torch.no_grad) -> bool:
    """Say whether passes over the same images differ: another label, or normalised logits farther apart than rounding brings them."""
    with context():
        passes = [module(images) for _ in range(PASSES)]
    unit = [one / one.norm(dim=1, keepdim=True).clamp_min(1e-10) for one in passes]
    return any(bool((one - unit[0]).norm(dim=1).max() > APART) for one in unit[1:])


@dataclass(frozen=True, eq=False)
class _Look:
    victim: Victim
    images: Tensor
    labels: Tensor
    threat: Threat
    queries: int
    seed: int

    def evidence(self) -> MaskingEvidence:
        fooled = dict(self._attacks())
        n = len(self.images)
        counts: dict[str, float] = {name: float(one.sum()) for name, one in fooled.items()}
        counts |= {"random": float(differs(self.victim.judged, self.images)), "no_gradient": float(self._flat())}
        found = {}
        if counts["random"]:
            found["random"] = "two passes over the same images differ"
        if counts["no_gradient"] > SHARE * n:
            found["no_gradient"] = f"the gradient is zero or no number for {counts['no_gradient']:.0f} of {n} images"
        if "whole" in fooled and (left := n - counts["whole"]) > SHARE * n:
            found["whole"] = f"gradients lead out of the class for {n - left:.0f} of {n} images only, even where any change is allowed"
        for name, weaker, said in (
            ("larger", "pgd", "a larger epsilon fools fewer images"),
            ("pgd", "once", "many small steps fool fewer images than one large step"),
        ):  # fmt: skip
            if name in fooled and weaker in fooled and fewer(fooled[name], fooled[weaker]):
                found[f"{name} < {weaker}"] = f"{said} ({counts[name]:.0f} against {counts[weaker]:.0f} of {n})"
        if (only := int(counts.get("square", 0))) > SHARE * n:
            found["square"] = f"an attack without gradients fools the model with {only} of {n} images that one with gradients does not"
        return MaskingEvidence(self.threat, found, counts, n, self.victim.tally.forward, {f"fooled_{k}": v for k, v in fooled.items()})

    def _attacks(self) -> Iterator[tuple[str, np.ndarray]]:
        """What each attack fools, bool [n]; Square is tried where PGD failed. L1 has Square only."""
        runs: dict[str, Run] = {}
        if self.threat.norm != "L1":
            whole = replace(self.threat, epsilon=1.0 if self.threat.norm == "Linf" else self.images[0].numel() ** 0.5)
            larger = replace(self.threat, epsilon=min(2 * self.threat.epsilon, whole.epsilon))
            runs = {name: self._climb(one) for name, one in (("pgd", self.threat), ("larger", larger), ("whole", whole))}
            runs["once"] = partial(ascend, self.victim, threat=self.threat, steps=1, step=self.threat.epsilon, loss=lead, random=False)
        fooled = {name: self._fooled(run, np.ones(len(self.images), bool)) for name, run in runs.items()}
        yield from fooled.items()
        if "pgd" in fooled:
            yield "square", self._fooled(square(self.victim, self.threat, self.queries, self.seed).run, ~fooled["pgd"])

    def _fooled(self, run: Run, tried: np.ndarray) -> np.ndarray:
        """Which of the images that are tried an attack fools the model with, bool [n]."""
        found = np.zeros(len(tried), bool)
        if tried.any():
            place = torch.from_numpy(np.flatnonzero(tried)).to(self.images.device)
            images, labels = self.images[place], self.labels[place]
            moved = seeded(self.seed, self.victim.device, lambda: run(images, labels)).detach()
            found[tried] = self.victim.fooled(moved, labels).cpu().numpy()
        return found

    def _climb(self, threat: Threat) -> Run:
        step = 2.5 * threat.epsilon / STEPS
        return partial(ascend, self.victim, threat=threat, steps=STEPS, step=step, loss=lead, random=True)

    def _flat(self) -> int:
        """How many images have no gradient, or one that is no number, neither at the image nor at PROBES random points around it."""
        around = replace(self.threat, epsilon=AROUND * self.threat.epsilon)
        norm = "L2" if around.norm == "L1" else around.norm
        without = flat(self.victim.followed, self.images, self.labels)
        for number in range(PROBES):
            points = seeded(self.seed + number, self.victim.device, lambda: start(self.images, norm, around.epsilon))
            without &= flat(self.victim.followed, points, self.labels)
        return int(without.sum())


def fewer(stronger: np.ndarray, weaker: np.ndarray) -> bool:
    """Say whether the attack that should be stronger fools fewer images, by McNemar's exact test, one-sided."""
    lost, gained = int((weaker & ~stronger).sum()), int((stronger & ~weaker).sum())
    return lost > gained and float(stats.binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue) < LEVEL
