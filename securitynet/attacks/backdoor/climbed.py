"""What the ladder found: its stages, and one p-value for the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from securitynet.attacks.backdoor import FALSE_POSITIVE_RATE, BackdoorEvidence
from securitynet.attacks.backdoor.nulls import FEW_CLASSES, NEAREST_LEVEL, Calibrated, combined
from securitynet.metrics.intervals import Estimate, rate


@dataclass(frozen=True, eq=False)
class Stage:
    """One detector's evidence on the way, the p-value that clean models give it, its weight in the correction, its seconds."""

    name: str
    params: str
    evidence: BackdoorEvidence
    found: Calibrated
    weight: float
    seconds: float

    @property
    def p_value(self) -> float:
        """The chance that a clean model scores so high."""
        return self.found.p_value


@dataclass(frozen=True, eq=False)
class Climbed:
    """The stages that were run. Their weights are shares of all that were planned, so the p-value is corrected for those as well.

    `left_out` says which were not run, and why.
    """

    family: ClassVar[str] = "backdoor"
    stages: tuple[Stage, ...]
    left_out: tuple[str, ...] = ()

    @property
    def queries(self) -> int:
        """Images that the model answered."""
        return sum(stage.evidence.forward for stage in self.stages)

    @property
    def p_value(self) -> float:
        """The chance that some stage says so much about a clean model."""
        return combined([stage.p_value for stage in self.stages], [stage.weight for stage in self.stages])

    @property
    def best(self) -> Stage:
        """The stage that decides; of equals the last, which looked closest."""
        return min(reversed(self.stages), key=lambda stage: min(1.0, stage.p_value / stage.weight))

    @property
    def level(self) -> float:
        """The p-value below which the model is flagged: smaller where the null is another dataset's."""
        return FALSE_POSITIVE_RATE if self.best.found.calibrated else NEAREST_LEVEL

    def metrics(self) -> list[Estimate]:
        """Return score, p-value, first candidate, whether it is flagged, backward images; of its trigger size and success."""
        classes, p_value, best = len(self.stages[0].evidence.statistics), self.p_value, self.best
        words = self._words()
        found = [
            Estimate("score", -math.log10(max(p_value, 1e-300)), classes),
            Estimate("p_value", p_value, classes, reason=words),
            Estimate("target_class", None if best.evidence.target_class is None else float(best.evidence.target_class), classes),
            Estimate("flagged", float(p_value <= self.level), classes, reason=f"at {self.level:g}"),
            Estimate("backward_images", float(sum(stage.evidence.backward for stage in self.stages)), classes),
        ]
        for one in (trigger for stage in self.stages for trigger in stage.evidence.recovered):
            if one.target_class == best.evidence.target_class:
                found.append(Estimate("mask_l1", float(one.mask.sum()), one.mask.numel()))
                found.append(rate("trigger_success", one.successes, one.n))
        return found

    def _words(self) -> str:
        """Stage by stage, then what the smallest p-value rests on."""
        parts = []
        for stage in self.stages:
            toward = "" if stage.evidence.target_class is None else f" (class {stage.evidence.target_class})"
            parts.append(f"{stage.name.rpartition('/')[2]} {stage.p_value:.2g}{toward}")
        remarks = dict.fromkeys(stage.evidence.remark for stage in self.stages if stage.evidence.remark)
        decides = f"{self.best.name.rpartition('/')[2]} decides, times {1 / self.best.weight:.3g}"
        few = ", ".join(stage.name.rpartition("/")[2] for stage in self.stages if stage.found.words == FEW_CLASSES)
        uncounted = [f"{few} not counted: no clean models were measured with so few classes"] if few else []
        said = [", ".join(parts), decides, self.best.found.words, *uncounted, *remarks, *self.left_out]
        return "; ".join(said)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: the statistics of the stage that decides and of each, and the recovered triggers."""
        arrays: dict[str, np.ndarray] = {"statistics": self.best.evidence.statistics}
        for stage in self.stages:
            name = stage.name.rpartition("/")[2]
            arrays |= {key if key != "statistics" else f"statistics_{name}": value for key, value in stage.evidence.arrays().items()}
        return arrays
