"""Canaries: a lower bound on the epsilon of a training from samples that coins put into it (Steinke et al. 2023, arXiv 2305.08846).

For models whose folder holds canaries.safetensors: those of `securitynet zoo plant --canaries` and of one's own trainings with
securitynet.canaries. An ordinary public model has no epsilon: nobody threw coins about its images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from securitynet import canaries as planted
from securitynet.data import ArrayImages, Split
from securitynet.data.transform import Transform
from securitynet.errors import Skipped
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.vocabulary import CANARIES_RIGHT, EPSILON, MU
from securitynet.target import Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ()
ONE_RUN, GAUSSIAN = "one run (arXiv 2305.08846), lower bound", "one run (arXiv 2410.22235), lower bound if Gaussian"


@dataclass(frozen=True, eq=False)
class CanaryEvidence:
    """What guesses about `canaries`, on which the model returned `logits` [m, classes], show."""

    family: ClassVar[str] = "membership"
    canaries: planted.Canaries
    logits: np.ndarray
    found: planted.Audit

    @property
    def queries(self) -> int:
        """Each canary is queried once."""
        return len(self.canaries)

    def metrics(self) -> list[Estimate]:
        """Return epsilon and mu, each the lower end itself (there is no upper one), and the share of right guesses."""
        right, made, count = self.found.guesses
        bounds = ((EPSILON, self.found.epsilon, ONE_RUN), (MU, self.found.mu, GAUSSIAN))
        guessed = rate(CANARIES_RIGHT, right, made)
        rows = [Estimate(name, value, count, value, None, method, str(self.found), scope="all") for name, value, method in bounds]
        return [*rows, Estimate(CANARIES_RIGHT, guessed.value, made, guessed.ci_low, guessed.ci_high, guessed.ci_method, scope="all")]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return logits, labels and coins of the canaries."""
        return {"logits": self.logits, "canary_labels": self.canaries.labels, "included": self.canaries.included}


@dataclass(frozen=True)
class Canaries:
    """Guesses a share `guessed` of the canaries, half of it included and half not, by log-odds of the trained label; at `delta`."""

    guessed: float = planted.GUESSED
    delta: float = planted.DELTA

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> CanaryEvidence:
        """Return what the guesses show. Raises Skipped where the model's folder holds no canaries."""
        path = None if target.folder is None else target.folder / planted.FILE
        if path is None or not path.exists():
            raise Skipped(f"no {planted.FILE} beside the model: epsilon is defined only where coins decided what was trained on")
        held = planted.load(path)
        images = ArrayImages(held.images, held.labels)
        split = Split("canaries", images, np.arange(len(held)), held.labels, Transform.of(target.entry))
        logits = query(target, split, accelerator).logits
        return CanaryEvidence(held, logits, held.audit(logits, guessed=self.guessed, delta=self.delta))
