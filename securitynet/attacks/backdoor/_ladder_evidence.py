"""What the ladder found: its stages, and one p-value for the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from securitynet.attacks.backdoor import BackdoorEvidence, Recovered, judged, of_trigger
from securitynet.attacks.backdoor._nulls import Calibrated, combined
from securitynet.metrics import vocabulary
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.judgement import Judgement


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
        """The chance that a clean model scores so high; 1 where no clean models were measured: such a stage can say nothing."""
        return 1.0 if self.found.p_value is None else self.found.p_value

    @property
    def counted(self) -> bool:
        """Whether some null fits the stage."""
        return self.found.p_value is not None


@dataclass(frozen=True, eq=False)
class LadderEvidence:
    """The stages that were run. Their weights are shares of all that were planned, so the p-value is corrected for those as well.

    `left_out` says which were not run, and why; `cut_short`: some for want of budget.
    """

    family: ClassVar[str] = "backdoor"
    stages: tuple[Stage, ...]
    left_out: tuple[str, ...] = ()
    cut_short: bool = False

    @property
    def queries(self) -> int:
        """Images that the model was queried on."""
        return sum(stage.evidence.forward for stage in self.stages)

    @property
    def p_value(self) -> float:
        """The chance that some stage shows so much for a clean model."""
        return combined([stage.p_value for stage in self.stages if stage.weight], [stage.weight for stage in self.stages if stage.weight])

    @property
    def best(self) -> Stage:
        """The stage that decides; of equals the last, which looked closest."""
        return min(reversed(self.stages), key=lambda stage: min(1.0, stage.p_value / max(stage.weight, 1e-9)))

    @property
    def found(self) -> Recovered | None:
        """The smallest trigger of any stage that turns held-out images; None where none does."""
        works = (one for stage in self.stages for one in stage.evidence.recovered if one.works)
        return min(works, key=lambda one: one.share, default=None)

    @property
    def judgement(self) -> Judgement:
        """What the p-value says; no null for any stage is no p-value. Calibrated where every stage that is counted is."""
        counted, target = [stage for stage in self.stages if stage.counted and stage.weight], self.best.evidence.target_class
        complete = not self.cut_short and all(stage.counted and stage.evidence.complete for stage in self.stages)
        recovered = (one for stage in self.stages for one in stage.evidence.recovered)
        confirmed = self.best.evidence.works or any(one.works and one.target_class == target for one in recovered)
        calibrated = bool(counted) and all(stage.found.calibrated for stage in counted)
        return Judgement.at(self.p_value if counted else None, calibrated, complete, confirmed)

    def metrics(self) -> list[Estimate]:
        """Return score, p-value, first candidate, whether it is flagged, backward images; of its trigger size and success."""
        classes, judgement, target = len(self.stages[0].evidence.statistics), self.judgement, self.best.evidence.target_class
        trigger = self.found or self._candidates(target)
        at = None if judgement.level is None else f"at {judgement.level:g}"
        return [
            Estimate(vocabulary.SCORE, -math.log10(max(self.p_value, 1e-300)), classes),
            *judged(judgement, classes, self._words(), at),
            Estimate(vocabulary.TARGET_CLASS, None if target is None else float(target), classes),
            Estimate(vocabulary.BACKWARD_IMAGES, float(sum(stage.evidence.backward for stage in self.stages)), classes),
            *(of_trigger([trigger], trigger.target_class) if trigger else ()),
            *([Estimate(vocabulary.TRIGGER_CLASS, float(trigger.target_class), classes)] if trigger else ()),
        ]

    def _candidates(self, target: int | None) -> Recovered | None:
        """The smallest trigger towards the first candidate."""
        towards = (one for stage in self.stages for one in stage.evidence.recovered if one.target_class == target)
        return min(towards, key=lambda one: one.share, default=None)

    def _words(self) -> str:
        """Stage by stage, then what the smallest p-value rests on."""
        parts = []
        for stage in self.stages:
            toward = "" if stage.evidence.target_class is None else f" (class {stage.evidence.target_class})"
            parts.append(f"{stage.name.rpartition('/')[2]} {stage.p_value:.2g}{toward}")
        remarks = dict.fromkeys(stage.evidence.remark for stage in self.stages if stage.evidence.remark)
        decides = f"{self.best.name.rpartition('/')[2]} decides, times {1 / max(self.best.weight, 1e-9):.3g}"
        few = ", ".join(stage.name.rpartition("/")[2] for stage in self.stages if not stage.counted)
        uncounted = [f"{few} not counted: no clean models were measured for it"] if few else []
        said = [", ".join(parts), decides, self.best.found.words, *uncounted, *remarks, *self.left_out]
        return "; ".join(said)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: the statistics of the stage that decides and of each, and the recovered triggers."""
        arrays: dict[str, np.ndarray] = {"statistics": self.best.evidence.statistics}
        for stage in self.stages:
            name = stage.name.rpartition("/")[2]
            arrays |= {key if key != "statistics" else f"statistics_{name}": value for key, value in stage.evidence.arrays().items()}
        return arrays
