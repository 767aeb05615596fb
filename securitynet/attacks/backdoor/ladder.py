"""The standard suite: cheap statistics first, trigger inversion on the classes that they suspect, one p-value at the end.

The screens look at every class: the last layer's weights, superposed images, blockers, the largest margin that pixels can
reach. One perturbation that exchanges the labels of all classes is searched for, as all-to-all backdoors have it. Triggers are
then searched for, among many classes for their first candidates and a few others to compare with. Each
stage's score becomes a p-value by what clean models score; the smallest, corrected for the number of stages, is the model's.
universal_perturbation is left out: it costs as much as the inversion and adds little to it (see docs/backdoor.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._cost import passes_of, seconds_per_image, usual_budget
from securitynet.attacks.backdoor._covariates import COVARIATE_IMAGES, kind_of
from securitynet.attacks.backdoor._inversion import InversionSettings
from securitynet.attacks.backdoor._inversion.search import untouched
from securitynet.attacks.backdoor._kind import Kind
from securitynet.attacks.backdoor._ladder_evidence import LadderEvidence, Stage
from securitynet.attacks.backdoor._nulls import Nulls, read, shares, shipped
from securitynet.attacks.backdoor._outliers import Statistics
from securitynet.attacks.backdoor._preconditions import sound
from securitynet.attacks.backdoor._routes import Route, routes
from securitynet.attacks.backdoor.neural_cleanse import NeuralCleanse
from securitynet.attacks.backdoor.universal_permutation import UniversalPermutation
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
    "backdoor/maximum_margin": 0.18,
    "backdoor/universal_permutation": 0.08,
    "backdoor/neo": 0.08,
    "backdoor/strip": 0.08,
    "backdoor/last_layer": 0.08,
}


@dataclass(frozen=True)
class Ladder:
    """Triggers are searched for every class of a model with at most `few`, the search abandoning those that cannot win.

    Of a model with more, for the `suspects` that the screens rank first and as many others. Where no screen's p-value is
    below `suspicion`, none is searched for. `exhaustive` does it for every class, to the end, whatever it costs. `budget` counts
    passes: one image forward is one, backward two. It chooses the route (see _routes); None gives cheap models more than dear
    ones. It decides alone what is done: time and load do not.
    `nulls` is a file of clean models' scores (`securitynet backdoor calibrate`) in place of those that come with the package.
    """

    few: int = 20
    suspects: int = 5
    suspicion: float = 1.0
    budget: int | None = None
    exhaustive: bool = False
    nulls: str | None = None

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> LadderEvidence:
        """Return the stages that were climbed. Raises Skipped, with the cause, where nothing can be said about the model."""
        with untouched(target.module.to(accelerator.device)):
            sound(target, splits, accelerator)
            return _Climb.of(self, target, splits, accelerator).climbed()

    def clean_models(self) -> Nulls:
        """Return the nulls of `nulls`, or those that come with the package. Raises DataError where the file holds none."""
        return shipped() if self.nulls is None else read(Path(self.nulls))

    def searched(self, classes: int) -> int:
        """Return how many of so many classes triggers are searched for."""
        return classes if classes <= self.few else 2 * self.suspects

    def route(self, size: tuple[int, ...], classes: int, budget: int) -> Route:
        """Return the first route that costs no more than `budget`, else the last."""
        found = routes(size)
        if self.exhaustive:
            return replace(found[0], search=InversionSettings(exhaustive=True))
        searched = self.searched(classes)
        return next((one for one in found if passes_of(one.images(classes, searched)) <= budget), found[-1])


@dataclass(eq=False)
class _Climb:
    """A ladder at work on a model."""

    ladder: Ladder
    target: Target
    splits: Splits
    accelerator: Accelerator
    budget: int
    route: Route
    kind: Kind
    nulls: Nulls
    stages: list[Stage] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    cut_short: bool = False

    @classmethod
    def of(cls, ladder: Ladder, target: Target, splits: Splits, accelerator: Accelerator) -> _Climb:
        """Choose the route, print its price, measure what kind of model it is."""
        device, classes = accelerator.device, target.num_classes
        second = seconds_per_image(target, device)
        budget = ladder.budget or usual_budget(target, device)
        route = ladder.route(tuple(target.entry.input_size or ()), classes, budget)
        count = route.expected(classes, classes if ladder.exhaustive else ladder.searched(classes)) + COVARIATE_IMAGES
        words = "%s route for %d classes: about %s images forward and backward, %.0f s of this machine; budget %s passes"
        log.info(words, route.name, classes, f"{count:,}", max(1.0, second * count), f"{budget:,}")
        kind = kind_of(target, splits, accelerator)
        return cls(ladder, target, splits, accelerator, budget, route, kind, ladder.clean_models())

    def climbed(self) -> LadderEvidence:
        """Climb the stages that apply and that the budget allows."""
        *before, search = self.route.forms
        for plain, form in before:
            self._try(plain, form, partial(_same, form))
        if self.ladder.exhaustive or not self.stages or min(stage.p_value for stage in self.stages) <= self.ladder.suspicion:
            self._try(*search, self._search)
        if not self.stages:
            raise Skipped("; ".join(self.left_out))
        if not self.route.all_classes:
            self.left_out.append("screening: classes were ranked by the last layer's weights and shifts of the features alone")
        planned = {name_of(plain): self._known(plain, form) for plain, form in self.route.forms if name_of(plain) in WEIGHTS}
        weights = shares({name: WEIGHTS[name] for name in planned}, self.kind, planned, self.nulls)
        stages = tuple(replace(stage, weight=weights.get(stage.name, 0.0)) for stage in self.stages)
        return LadderEvidence(stages, tuple(self.left_out), self.cut_short or not self.route.all_classes)

    @cached_property
    def own_nulls(self) -> bool:
        """Whether clean models were measured by a route that is not the full one."""
        known = {(null.detector, null.params) for null in self.nulls.scores}
        weighed = [form for _, form in self.route.forms if name_of(form) in WEIGHTS]
        return not self.route.measured and all((name_of(form), params_of(form)) in known for form in weighed)

    def _known(self, plain: Attack, form: Attack) -> str:
        """The settings, as JSON, that the nulls of a stage were measured with."""
        return params_of(form if self.own_nulls else plain)

    def _try(self, plain: Attack, form: Attack, chosen: Callable[[], Attack]) -> None:
        """Run one stage, or note why it cannot be run."""
        try:
            stage = stage_of(self._known(plain, form), chosen(), (self.kind, self.nulls), self.target, self.splits, self.accelerator)
        except Skipped as skipped:
            self.cut_short |= isinstance(skipped, CutShort) or isinstance(plain, UniversalPermutation)
            self.left_out.append(f"no {name_of(plain).rpartition('/')[2]}: {skipped}")
            log.info("%s", self.left_out[-1])
        else:
            if not (self.route.measured or self.own_nulls):
                stage = replace(stage, params=params_of(form), found=stage.found.elsewhere(f"{self.route.name} route"))
            self.stages.append(stage)

    def _search(self) -> NeuralCleanse:
        """Return the inversion of all classes, or of those that the stages suspect and others to compare with, as the budget allows."""
        if self.ladder.exhaustive:
            return NeuralCleanse(self.route.search)
        count, left = self.target.num_classes, self.budget - sum(stage.evidence.passes for stage in self.stages)
        ranking = [stage for stage in self.stages if stage.evidence.target_class is not None]
        wanted = count if not ranking else self.ladder.searched(count)
        a_class = passes_of(self.route.search.rungs[0] * self.route.search.per_step)
        able = max(0, left) // a_class
        if able < min(FEWEST, wanted):
            raise CutShort(
                f"the budget was used up before any class was searched ({max(0, left):,} passes were left, a class takes {a_class:,})"
            )
        settings = replace(self.route.search, budget=left)
        if wanted == count and (able >= count or not ranking):
            return NeuralCleanse(settings)
        if able < wanted:
            self.cut_short = True
            self.left_out.append(f"triggers were searched for {2 * (able // 2)} of {wanted} classes within {left:,} passes")
        some = suspected(ranking, min(self.ladder.suspects, able // 2), self.splits.seed)
        return NeuralCleanse(settings, tuple(some))


def _same(attack: Attack) -> Attack:
    return attack


def stage_of(params: str, attack: Attack, known: tuple[Kind, Nulls], target: Target, splits: Splits, accelerator: Accelerator) -> Stage:
    """Run one detector and calibrate its score by the null of `params` (JSON) for the model's kind: a budget does not decide which."""
    start = time.perf_counter()
    evidence = attack(target, splits, accelerator)
    assert isinstance(evidence, BackdoorEvidence)
    found = evidence.by_clean_models(name_of(attack), params, *known)
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
