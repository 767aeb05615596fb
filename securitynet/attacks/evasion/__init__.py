"""Evasion: how small a change of an image makes the model name another class?

Every attack changes pixels in [0,1] as the network is fed them, with the publisher's normalisation inside. What it finds are
attacked images, so the accuracy that it leaves is an upper bound on the true robust accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics import vocabulary
from securitynet.metrics.intervals import Estimate, rate
from securitynet.threat import ADVERSARIAL, Threat

TAKES = "gradients"  # of a target, unless an attack says otherwise
WRONG, ROBUST = -2, -1  # instead of the number of a stage: wrong before any attack, not fooled by any


@dataclass(frozen=True, eq=False)
class EvasionEvidence:
    """What became of the n images that were attacked.

    `positions` int64 [n] say where they stand in the split, `labels` int64 [n] are theirs. `by` int64 [n] is the number of the
    stage (of `stages`) that fooled the model with the image, or ROBUST, or WRONG. `sizes` float64 [n] are the norms of the
    changes found, NaN where there is none. `examples` holds a few attacked images, see Examples. `forward` and `backward`
    count images that went through the model each way. `remark` is what to know about the number.
    """

    family: ClassVar[str] = "evasion"
    threat: Threat
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    by: NDArray[np.int64]
    sizes: NDArray[np.float64]
    stages: tuple[str, ...]
    forward: int
    backward: int
    remark: str | None = None
    examples: Mapping[str, np.ndarray] = field(default_factory=dict)
    further: tuple[Estimate, ...] = ()

    @property
    def queries(self) -> int:
        """Images on which the model was queried, with and without gradients."""
        return self.forward

    def metrics(self) -> list[Estimate]:
        """Return robust and clean accuracy, the attack's success, and what it cost."""
        n, right = len(self.by), int((self.by != WRONG).sum())
        robust = int((self.by == ROBUST).sum())
        found = [
            replace(rate(vocabulary.ROBUST_ACCURACY, robust, n), reason=self.remark),
            rate(vocabulary.ATTACK_SUCCESS, right - robust, right),
            Estimate(vocabulary.GRADIENT_IMAGES, float(self.backward), self.backward),
        ]
        under = [within(one, self.threat) for one in (*found, *self.further)]
        return [under[0], rate(vocabulary.CLEAN_ACCURACY, right, n), *under[1:]]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is saved: what became of each image, and the examples."""
        kept = {"positions": self.positions, "labels": self.labels, "by": self.by, "sizes": self.sizes}
        return {**kept, "stages": np.asarray(self.stages), **self.examples}


def within(estimate: Estimate, threat: Threat) -> Estimate:
    """Return an estimate under a threat model."""
    return replace(estimate, threat_model=ADVERSARIAL, norm=threat.norm, epsilon=estimate.epsilon or threat.epsilon)
