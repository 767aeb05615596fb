"""Backdoor detection: does a hidden trigger turn any image into one class?

The family's evidence is one statistic per class, larger for a likelier target of a backdoor, and one score per model. No
detector knows the attack, the size of its trigger or its target.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from securitynet.attacks.backdoor._nulls import FEW_CLASSES, RATIOS, Calibrated, calibrate
from securitynet.attacks.backdoor._outliers import FEWEST, Statistics
from securitynet.metrics import vocabulary
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.judgement import Judgement

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from securitynet.attacks.backdoor._kind import Kind
    from securitynet.attacks.backdoor._nulls import Nulls
    from securitynet.data import Splits
    from securitynet.target import Target

DATA = ("nulls.jsonl", "power.jsonl")  # what p-values and verdicts rest on, beside the code
TAKES = "network"  # of a target, unless an attack says otherwise
WORKS = 0.8  # share of held-out images that a trigger must turn


@dataclass(frozen=True, eq=False)
class Recovered:
    """A trigger found for one class: mask float [1, h, w] and pattern float [c, h, w] in [0,1].

    `successes` of `n` held-out images, none of them of the class, were turned into it.
    """

    target_class: int
    mask: Tensor
    pattern: Tensor
    successes: int
    n: int

    @property
    def works(self) -> bool:
        """Whether it turns at least 80 % of the held-out images."""
        return self.n > 0 and self.successes >= WORKS * self.n

    @property
    def share(self) -> float:
        """The mask's sum as a share of the image."""
        return float(self.mask.mean())


@dataclass(frozen=True, eq=False)
class BackdoorEvidence:
    """What a detector found. `statistics` float64 [k], one per class, NaN where a class was given up before the end.

    `score` sums the model up, larger is more suspicious; `target_class` is the first candidate. `p_value` is the chance
    that a clean model scores at least so high, None where no clean models were measured; `remark` says what it rests on.
    `calibrated`: on clean models of the same kind. `complete`: no class was left out for want of budget.
    `made_up`: random fields stood in for images. `works`: what was found is no trigger towards one class, and changes most
    held-out images as it should. `forward` and `backward` count images that went through the model each way.
    """

    family: ClassVar[str] = "backdoor"
    statistics: Statistics
    score: float
    target_class: int | None
    p_value: float | None
    forward: int
    backward: int = 0
    remark: str | None = None
    calibrated: bool = True
    complete: bool = True
    made_up: bool = False
    anomaly_index: float | None = None
    recovered: tuple[Recovered, ...] = ()
    works: bool = False

    @property
    def queries(self) -> int:
        """Images that the model was queried on."""
        return self.forward

    def metrics(self) -> list[Estimate]:
        """Return score, p-value, first candidate, whether it is flagged; of a recovered trigger its size and success."""
        classes = int(np.isfinite(self.statistics).sum())
        target = None if self.target_class is None else float(self.target_class)
        found = [
            Estimate(vocabulary.SCORE, self.score, classes),
            *judged(self.judgement, classes, self.remark, self.remark),
            Estimate(vocabulary.TARGET_CLASS, target, classes),
            Estimate(vocabulary.BACKWARD_IMAGES, float(self.backward), self.backward),
        ]
        if self.anomaly_index is not None:
            found.append(Estimate(vocabulary.ANOMALY_INDEX, self.anomaly_index, classes))
        return [*found, *of_trigger(self.recovered, self.target_class)]

    @property
    def passes(self) -> int:
        """What it cost, see attacks.backdoor._classes.passes."""
        return self.forward + 2 * self.backward

    @property
    def confirmed(self) -> bool:
        """Whether a trigger towards the first candidate, or one that exchanges all classes, was found that works on held-out images."""
        return self.works or any(one.works for one in self.recovered if one.target_class == self.target_class)

    @property
    def judgement(self) -> Judgement:
        """What the p-value says."""
        return Judgement.at(self.p_value, self.calibrated, self.complete, self.confirmed)

    def by_clean_models(self, attack: str, params: str, kind: Kind, nulls: Nulls | None = None) -> Calibrated:
        """Return the p-value that clean models give the score of a model of `kind`.

        Where random fields stood in for images, or the budget was used up, a null of the model's own kind does not fit. Where
        fewer than four classes have a statistic there is no spread to divide by, so that scores that rest on it compare with
        those of clean models of the same class count only.
        """
        own = replace(kind, dataset=None) if self.made_up or not self.complete else kind
        found = calibrate(attack, params, self.score, own, nulls)
        few = int(np.isfinite(self.statistics).sum()) < FEWEST and attack not in RATIOS
        return Calibrated(None, False, FEW_CLASSES) if few and not found.calibrated else found

    def with_null(self, attack: str, params: str, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return this evidence with the p-value that clean models give its score, where the detector has none of its own."""
        from securitynet.attacks.backdoor._covariates import kind_of

        if self.p_value is not None:
            return self
        found = self.by_clean_models(attack, params, kind_of(target, splits, accelerator))
        return replace(
            self, p_value=found.p_value, calibrated=found.calibrated, remark="; ".join(part for part in (found.words, self.remark) if part)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: the statistics and, by class, the recovered triggers."""
        arrays: dict[str, np.ndarray] = {"statistics": self.statistics}
        if self.recovered:
            arrays["classes"] = np.asarray([one.target_class for one in self.recovered])
            arrays["masks"] = np.stack([one.mask.numpy() for one in self.recovered])
            arrays["patterns"] = np.stack([one.pattern.numpy() for one in self.recovered])
        return arrays


def judged(judgement: Judgement, n: int, of_value: str | None, of_flag: str | None) -> list[Estimate]:
    """Return `p_value` and `flagged` of a judgement over `n` classes, each with its reason, and what the verdict needs to know."""
    facts: dict[str, Any] = {"calibrated": judgement.calibrated, "complete": judgement.complete, "level": judgement.level}
    flagged = None if judgement.flagged is None else float(judgement.flagged)
    return [
        Estimate(vocabulary.P_VALUE, judgement.p_value, n, reason=of_value, **facts),
        Estimate(vocabulary.FLAGGED, flagged, n, reason=of_flag, **facts),
    ]


def of_trigger(triggers: Iterable[Recovered], target_class: int | None) -> list[Estimate]:
    """Return size and success of the trigger that was recovered for the first candidate; of several, of the last."""
    found = [one for one in triggers if one.target_class == target_class]
    if not found:
        return []
    one = found[-1]
    size = Estimate(vocabulary.MASK_L1, float(one.mask.sum()), one.mask.numel())
    return [size, rate(vocabulary.TRIGGER_SUCCESS, one.successes, one.n)]
