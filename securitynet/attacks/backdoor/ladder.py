"""The standard suite: cheap statistics first, trigger inversion on the classes that they suspect, one p-value at the end.

The screens look at every class: the last layer's weights, superposed images, blockers, the largest margin that pixels can
reach. Triggers are then searched for, among many classes for their first candidates and a few others to compare with. Each
stage's score becomes a p-value by what clean models score; the smallest, corrected for the number of stages, is the model's.
universal_perturbation is left out: it costs as much as the inversion and adds little to it (see docs/backdoor.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attack import params_of
from securitynet.attacks.backdoor import BackdoorEvidence, Statistics
from securitynet.attacks.backdoor.climbed import Climbed, Stage
from securitynet.attacks.backdoor.gate import sound
from securitynet.attacks.backdoor.inversion import Settings
from securitynet.attacks.backdoor.last_layer import LastLayer
from securitynet.attacks.backdoor.maximum_margin import MaximumMargin
from securitynet.attacks.backdoor.neo import Neo
from securitynet.attacks.backdoor.neural_cleanse import NeuralCleanse
from securitynet.attacks.backdoor.nulls import calibrate
from securitynet.attacks.backdoor.strip import Strip
from securitynet.attacks.resolve import name_of
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.attack import Attack
    from securitynet.data import Splits

SUITES = ("standard",)
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
    below `suspicion`, none is searched for. `exhaustive` does it for every class, to the end. Each screen has a quarter of
    `seconds`, the search what is left; where that leaves classes out, the evidence says so.
    """

    few: int = 20
    suspects: int = 5
    suspicion: float = 1.0
    seconds: float = 600.0
    exhaustive: bool = False

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> Climbed:
        """Return the stages that were climbed. Raises Skipped, with the cause, where nothing can be said about the model."""
        sound(target, splits, accelerator)
        start, stages = time.perf_counter(), []
        for plain, attack in self._screens():
            try:
                stages.append(stage_of(plain, attack, target, splits, accelerator))
            except Skipped as skipped:
                log.info("%s: %s", name_of(attack), skipped)
        left = self.seconds - (time.perf_counter() - start)
        if self.exhaustive or not stages or (left > 0 and min(stage.p_value for stage in stages) <= self.suspicion):
            search = self._search(stages, target.num_classes, max(left, 1.0), splits.seed)
            stages.append(stage_of(NeuralCleanse(), search, target, splits, accelerator))
        return Climbed(tuple(stages))

    def _screens(self) -> list[tuple[Attack, Attack]]:
        """Every screen as the nulls were measured with, and with its share of the time; the sharpest first."""
        return [
            (MaximumMargin(), MaximumMargin(seconds=self.seconds / len(WEIGHTS))),
            (Neo(), Neo()),
            (Strip(), Strip()),
            (LastLayer(), LastLayer()),
        ]

    def _search(self, stages: Sequence[Stage], classes: int, left: float, seed: int) -> NeuralCleanse:
        """Return the inversion of all classes, or of those that the stages suspect and others to compare with."""
        if self.exhaustive:
            return NeuralCleanse(Settings(exhaustive=True))
        some = None if classes <= self.few or not stages else tuple(suspected(stages, self.suspects, seed))
        return NeuralCleanse(Settings(seconds=left), some)


def stage_of(plain: Attack, attack: Attack, target: Target, splits: Splits, accelerator: Accelerator) -> Stage:
    """Run one detector and calibrate its score by the null of its plain form: a time limit does not decide which."""
    start, params = time.perf_counter(), params_of(plain)
    evidence = attack(target, splits, accelerator)
    assert isinstance(evidence, BackdoorEvidence)
    found = calibrate(name_of(attack), params, evidence.score, target.entry.dataset, target.num_classes)
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
