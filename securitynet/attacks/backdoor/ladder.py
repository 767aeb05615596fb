"""The standard suite: cheap statistics first, trigger inversion on the classes that they suspect, one p-value at the end.

The screens look at every class: the last layer's weights, superposed images, blockers, the largest margin that pixels can
reach. Triggers are then searched for, among many classes for their first candidates and a few others to compare with. Each
stage's score becomes a p-value by what clean models score; the smallest, corrected for the number of stages, is the model's.
universal_perturbation is left out: it costs as much as the inversion and adds little to it (see docs/backdoor.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._climbed import Climbed, Stage
from securitynet.attacks.backdoor._gate import sound
from securitynet.attacks.backdoor._inversion import Settings
from securitynet.attacks.backdoor._inversion.search import untouched
from securitynet.attacks.backdoor._outliers import Statistics
from securitynet.attacks.backdoor._price import affordable, first_images, images_per_class, seconds_per_image
from securitynet.attacks.backdoor.last_layer import LastLayer
from securitynet.attacks.backdoor.maximum_margin import MaximumMargin
from securitynet.attacks.backdoor.neo import Neo
from securitynet.attacks.backdoor.neural_cleanse import NeuralCleanse
from securitynet.attacks.backdoor.strip import Strip
from securitynet.attacks.protocols import params_of
from securitynet.attacks.resolve import name_of
from securitynet.errors import CutShort, Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.attacks.protocols import Attack
    from securitynet.data import Splits

SUITES = ("standard",)
FEWEST = 4  # classes whose masks are compared, where there are so many
log = logging.getLogger(__name__)
WEIGHTS = {  # of each stage in Bonferroni's correction, whether or not it was needed; half goes to the stage that looks closest
    "backdoor/neural_cleanse": 0.5,
    "backdoor/maximum_margin": 0.2,
    "backdoor/neo": 0.1,
    "backdoor/strip": 0.1,
    "backdoor/last_layer": 0.1,
}


@dataclass(frozen=True)
class Ladder:
    """Triggers are searched for every class of a model with at most `few`, the search abandoning those that cannot win.

    Of a model with more, for the `suspects` that the screens rank first and as many others. Where no screen's p-value is
    below `suspicion`, none is searched for. `exhaustive` does it for every class, to the end, whatever the time. Each screen
    has an equal share of `seconds`, the search what is left; where that leaves classes or stages out, the evidence says so.
    """

    few: int = 20
    suspects: int = 5
    suspicion: float = 1.0
    seconds: float = 600.0
    exhaustive: bool = False

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> Climbed:
        """Return the stages that were climbed. Raises Skipped, with the cause, where nothing can be said about the model."""
        with untouched(target.module.to(accelerator.device)):
            sound(target, splits, accelerator)
            return _Climb(self, target, splits, accelerator).climbed()

    def screens(self) -> list[tuple[Attack, Attack]]:
        """Every screen as the nulls were measured with, and with its share of the time; the sharpest first."""
        share = None if self.exhaustive else self.seconds / len(WEIGHTS)
        return [
            (MaximumMargin(), MaximumMargin(seconds=share)),
            (Neo(), Neo(seconds=share)),
            (Strip(), Strip(seconds=share)),
            (LastLayer(), LastLayer()),
        ]


@dataclass(eq=False)
class _Climb:
    """A ladder at work on a model."""

    ladder: Ladder
    target: Target
    splits: Splits
    accelerator: Accelerator
    stages: list[Stage] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    cut_short: bool = False
    start: float = field(default_factory=time.perf_counter)

    def climbed(self) -> Climbed:
        """Climb the stages that apply and that the time allows."""
        price, screens = seconds_per_image(self.target, self.accelerator.device), self.ladder.screens()
        self._announce(price * sum(images_per_class(attack) for _, attack in screens))
        for plain, attack in screens:
            self._try(plain, partial(affordable, attack, self.target.num_classes, price))
        if self.ladder.exhaustive or not self.stages or min(stage.p_value for stage in self.stages) <= self.ladder.suspicion:
            self._try(NeuralCleanse(), partial(self._search, price))
        if not self.stages:
            raise Skipped("; ".join(self.left_out))
        return Climbed(tuple(self.stages), tuple(self.left_out), self.cut_short)

    def _announce(self, a_class: float) -> None:
        """Log what the screens will cost."""
        count = self.target.num_classes
        limit = "" if self.ladder.exhaustive else f", bounded, with the search for triggers, to {self.ladder.seconds:.0f} s"
        log.info("screening %d classes: about %.0f s%s", count, max(1.0, a_class * count), limit)

    def _try(self, plain: Attack, chosen: Callable[[], Attack]) -> None:
        """Run one stage, or note why it cannot be run."""
        try:
            self.stages.append(stage_of(plain, chosen(), self.target, self.splits, self.accelerator))
        except Skipped as skipped:
            self.cut_short |= isinstance(skipped, CutShort)
            self.left_out.append(f"no {name_of(plain).rpartition('/')[2]}: {skipped}")
            log.info("%s", self.left_out[-1])

    def _search(self, price: float) -> NeuralCleanse:
        """Return the inversion of all classes, or of those that the stages suspect and others to compare with, as the time allows."""
        if self.ladder.exhaustive:
            return NeuralCleanse(Settings(exhaustive=True))
        count, left = self.target.num_classes, self.ladder.seconds - (time.perf_counter() - self.start)
        wanted = count if count <= self.ladder.few or not self.stages else 2 * self.ladder.suspects
        a_class = price * first_images(Settings())
        able = int(left / a_class)
        if able < min(FEWEST, wanted):
            raise CutShort(f"time was up before any class was searched ({max(0.0, left):.0f} s were left, a class takes {a_class:.0f} s)")
        if wanted == count and (able >= count or not self.stages):
            return NeuralCleanse(Settings(seconds=left))
        if able < wanted:
            self.cut_short = True
            self.left_out.append(f"triggers were searched for {2 * (able // 2)} of {wanted} classes within {left:.0f} s")
        some = suspected(self.stages, min(self.ladder.suspects, able // 2), self.splits.seed)
        return NeuralCleanse(Settings(seconds=left), tuple(some))


def stage_of(plain: Attack, attack: Attack, target: Target, splits: Splits, accelerator: Accelerator) -> Stage:
    """Run one detector and calibrate its score by the null of its plain form: a time limit does not decide which."""
    start, params = time.perf_counter(), params_of(plain)
    evidence = attack(target, splits, accelerator)
    assert isinstance(evidence, BackdoorEvidence)
    found = evidence.by_clean_models(name_of(attack), params, target)
    return Stage(name_of(attack), params, evidence, found, WEIGHTS.get(name_of(attack), 0.0), time.perf_counter() - start)


def suspected(stages: Sequence[Stage], count: int, seed: int) -> list[int]:
    """Return the `count` classes that the stages rank first, turn by turn, and as many of the others, drawn by seed, to compare with."""
    order: list[int] = []
    ranked = [_ranked(stage.evidence.statistics) for stage in stages]
    for place in range(max(map(len, ranked))):
        order += dict.fromkeys(classes[place] for classes in ranked if place < len(classes) and classes[place] not in order)
    rest = np.array(sorted(order[count:]), dtype=np.int64)
    others = np.random.default_rng(seed).permutation(rest)[: max(count, 2)]
    return sorted([*order[:count], *map(int, others)])


def _ranked(statistics: Statistics) -> list[int]:
    finite = np.flatnonzero(np.isfinite(statistics))
    return [int(one) for one in finite[np.argsort(-statistics[finite], kind="stable")]]
