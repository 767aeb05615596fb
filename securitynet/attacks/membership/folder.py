"""Was this set of images among those that a model was trained on? Dataset inference (Maini et al. 2021) as one test, fixed beforehand.

The set is the training part of the data, or what lies at `images`; images known as unseen are the test part. The score is the log-odds
of the label. With reference networks (the default) the target's gap between set and unseen images is compared with the gaps of
networks that did not hold the images; without, set and unseen images are compared by Welch's test, which calls a set that is easier
than the unseen images "used" for every model. Not the features and the regressor of the paper, nor its harmonic mean of 100 p-values
of overlapping draws, which is no p-value.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from securitynet.attacks.membership import Scores
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership._question import Question, files_of
from securitynet.metrics.intervals import Estimate
from securitynet.metrics.usage import Gap, predicted, welch
from securitynet.metrics.vocabulary import FOLDER_GAP, FOLDER_P_VALUE
from securitynet.references import ReferenceSettings
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ()
WELCH = "Welch, one-sided; holds only if the set is like the unseen images"
NETWORKS = "Student's t over reference networks, one-sided"


@dataclass(frozen=True, eq=False)
class FolderEvidence:
    """The gap and its p-value, and the scores of the images in question [n] and of the unseen ones [m]."""

    family: ClassVar[str] = "membership"
    questioned: Scores
    unseen: Scores
    gap: Gap
    method: str
    networks: tuple[float, ...] = ()

    @property
    def queries(self) -> int:
        """Each image is queried once."""
        return len(self.questioned) + len(self.unseen)

    def metrics(self) -> list[Estimate]:
        """Return the p-value and the gap in nats."""
        n, gap = self.queries, self.gap
        p = Estimate(FOLDER_P_VALUE, gap.p, n, ci_method=self.method, reason=self._words, scope="all")
        return [p, Estimate(FOLDER_GAP, gap.value, n, gap.low, gap.high, self.method, scope="all")]

    @property
    def _words(self) -> str:
        if self.gap.p < 0.05:
            return "at 5 %: the model was trained on these images, on part of them, or on near copies"
        return "at 5 %: not shown; that the images were not used does not follow"

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the scores and the gaps of the reference networks."""
        return {"questioned": self.questioned, "unseen": self.unseen, "networks": np.asarray(self.networks, np.float64)}


@dataclass(frozen=True)
class Folder:
    """`images`: the set in question, as --data takes it; None: the training part of the data.

    `references`: 0, or networks to train (an even number, at least 4), or how.
    """

    images: str | None = None
    references: int | ReferenceSettings = 8

    @property
    def data_files(self) -> list[Path]:
        """The files that the result depends on."""
        return files_of(self.images)

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> FolderEvidence:
        """Return the test. Raises Skipped where images are missing, UsageError for a path that is none."""
        question = Question.of(target, splits, self.images)
        if not self.references:
            scores = question.scored(log_odds, target, accelerator)
            return FolderEvidence(*scores, welch(*scores), WELCH)
        found = question.calibrated(log_odds, target, self.references, accelerator)
        own, others = found.gaps()
        questioned = found.questioned
        return FolderEvidence(found.target[questioned], found.target[~questioned], predicted(own, others), NETWORKS, tuple(others))
