"""Neural Cleanse: the class that the smallest trigger turns any image into, judged against the others' triggers.

Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao (2019), Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural
Networks, IEEE S&P. The search is described in securitynet.attacks.backdoor._inversion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._inversion import Inversion, InversionSettings, recover
from securitynet.metrics.outliers import anomaly_index, times_smaller

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits
    from securitynet.target import Target

SUITES = ("full",)
VANISHING = "the model returns probabilities: where it is certain, its gradient vanishes, and masks come out too large"


@dataclass(frozen=True)
class NeuralCleanse:
    """Trigger inversion for `classes` (None: all) with `settings`.

    The score is the logarithm of median over smallest mask, the anomaly index that of the paper, one-sided.
    """

    settings: InversionSettings = field(default_factory=InversionSettings)
    classes: tuple[int, ...] | None = None

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return minus the L1 of each class's mask as statistics, and the triggers of the classes that were not abandoned."""
        found = recover(target, splits, accelerator, self.settings, self.classes)
        vanishing = VANISHING if target.entry.output == "probabilities" else None
        return evidence(found, target.num_classes, vanishing)


def evidence(found: Inversion, num_classes: int, remark: str | None = None) -> BackdoorEvidence:
    """Return what a search over some of `num_classes` classes found as evidence."""
    statistics = np.full(num_classes, np.nan)
    statistics[found.classes[found.finished]] = -found.sizes[found.finished]
    return BackdoorEvidence(
        statistics=statistics,
        score=times_smaller(found.sizes),
        target_class=found.triggers[0].target_class,
        p_value=None,
        forward=found.query_count,
        backward=found.backward,
        remark="; ".join(filter(None, (found.remark, remark))) or None,
        complete=found.complete,
        made_up=found.made_up,
        anomaly_index=anomaly_index(found.sizes),
        recovered=found.triggers,
    )
