"""Backdoor detection: does a hidden trigger turn any image into one class?

The family's evidence is one statistic per class, larger for a likelier target of a backdoor, and one score per model. No
detector knows the attack, the size of its trigger or its target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.intervals import Estimate, rate

if TYPE_CHECKING:
    from torch import Tensor

    from securitynet.attacks.backdoor.nulls import Calibrated
    from securitynet.target import Target

Statistics = NDArray[np.float64]
DATA = ("nulls.jsonl",)  # what p-values rest on, beside the code
NO_IMAGES = "no images at hand"  # what a detector says that made some up
LATE = "time was up before"  # what one says that was cut short
FALSE_POSITIVE_RATE = 0.02  # at which `flagged` is stated, for models of the dataset and class count that the null was measured on


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


@dataclass(frozen=True, eq=False)
class BackdoorEvidence:
    """What a detector found. `statistics` float64 [k], one per class, NaN where a class was given up before the end.

    `score` sums the model up, larger is more suspicious; `target_class` is the first candidate. `p_value` is the chance
    that a clean model scores at least so high, None where no null is at hand; `remark` says what it rests on.
    `forward` and `backward` count images that went through the model each way.
    """

    family: ClassVar[str] = "backdoor"
    statistics: Statistics
    score: float
    target_class: int | None
    p_value: float | None
    forward: int
    backward: int = 0
    remark: str | None = None
    anomaly_index: float | None = None
    recovered: tuple[Recovered, ...] = ()

    @property
    def queries(self) -> int:
        """Images that the model answered."""
        return self.forward

    def metrics(self) -> list[Estimate]:
        """Return score, p-value, first candidate, whether it is flagged; of a recovered trigger its size and success."""
        classes = int(np.isfinite(self.statistics).sum())
        target = None if self.target_class is None else float(self.target_class)
        flagged = None if self.p_value is None else float(self.p_value <= FALSE_POSITIVE_RATE)
        found = [
            Estimate("score", self.score, classes),
            Estimate("p_value", self.p_value, classes, reason=self.remark),
            Estimate("target_class", target, classes),
            Estimate("flagged", flagged, classes, reason=self.remark),
            Estimate("backward_images", float(self.backward), self.backward),
        ]
        if self.anomaly_index is not None:
            found.append(Estimate("anomaly_index", self.anomaly_index, classes))
        for one in self.recovered:
            if one.target_class == self.target_class:
                found.append(Estimate("mask_l1", float(one.mask.sum()), one.mask.numel()))
                found.append(rate("trigger_success", one.successes, one.n))
        return found

    def judged(self, attack: str, params: str, target: Target) -> Calibrated:
        """Return the p-value that clean models give the score.

        Where random fields stood in for images, or the time was up, a null of the model's own dataset does not fit. Where fewer than four
        classes have a statistic there is no spread to divide by, so that scores that rest on it compare with those of
        clean models of the same class count only.
        """
        from securitynet.attacks.backdoor.nulls import FEW_CLASSES, RATIOS, Calibrated, calibrate
        from securitynet.attacks.backdoor.outliers import FEWEST

        dataset = None if any(words in (self.remark or "") for words in (NO_IMAGES, LATE)) else target.entry.dataset
        found = calibrate(attack, params, self.score, dataset, target.num_classes)
        few = int(np.isfinite(self.statistics).sum()) < FEWEST and attack not in RATIOS
        return Calibrated(1.0, False, FEW_CLASSES) if few and not found.calibrated else found

    def calibrated(self, attack: str, params: str, target: Target) -> BackdoorEvidence:
        """Return this evidence with the p-value that clean models give its score, where the detector has none of its own."""
        if self.p_value is not None:
            return self
        found = self.judged(attack, params, target)
        return replace(self, p_value=found.p_value, remark="; ".join(part for part in (found.words, self.remark) if part))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: the statistics and, by class, the recovered triggers."""
        arrays: dict[str, np.ndarray] = {"statistics": self.statistics}
        if self.recovered:
            arrays["classes"] = np.asarray([one.target_class for one in self.recovered])
            arrays["masks"] = np.stack([one.mask.numpy() for one in self.recovered])
            arrays["patterns"] = np.stack([one.pattern.numpy() for one in self.recovered])
        return arrays
