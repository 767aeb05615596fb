"""The true trigger of a model whose backdoor is recorded: how many images of other classes it turns. The ground truth, no detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from securitynet.errors import Skipped
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.vocabulary import TRUE_TRIGGER_SUCCESS
from securitynet.poisons import known
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("standard", "full")


@dataclass(frozen=True, eq=False)
class TrueTrigger:
    """`successes` of `n` test images were turned by the trigger that the entry records."""

    family: ClassVar[str] = "backdoor"
    successes: int
    n: int

    @property
    def queries(self) -> int:
        """Images that the model was queried on."""
        return self.n

    def metrics(self) -> list[Estimate]:
        """Return the rate with its exact interval."""
        return [rate(TRUE_TRIGGER_SUCCESS, self.successes, self.n)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing is worth saving."""
        return {}


@dataclass(frozen=True)
class KnownTrigger:
    """Stamps the recorded trigger on every test image that is not of its target (of all-to-all ones: on all)."""

    batch_size: int = 250

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> TrueTrigger:
        """Return the successes. Raises Skipped where no backdoor is recorded, or its trigger or test images are not available."""
        entry = target.entry
        if entry.backdoor in (None, "none"):
            raise Skipped("no backdoor is recorded for this model")
        trigger = known(entry, target.folder)
        if splits.test is None:
            raise Skipped("no test images available")
        labels = splits.test.labels
        wanted = (labels + 1) % target.num_classes if entry.backdoor_target is None else np.full(len(labels), entry.backdoor_target)
        victims = np.flatnonzero(labels != wanted)
        module = target.module.to(accelerator.device).eval()
        successes = 0
        with torch.inference_mode():
            for rows in np.array_split(victims, max(1, -(-len(victims) // self.batch_size))):
                stamped = trigger.stamp(splits.test.pixels(rows)).to(accelerator.device)
                successes += int((module(stamped).argmax(1).cpu().numpy() == wanted[rows]).sum())
        return TrueTrigger(successes, len(victims))
