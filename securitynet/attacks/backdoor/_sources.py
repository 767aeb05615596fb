"""Which classes a trigger turns: success by source class. A trigger of one source shows here, and nowhere in the mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from securitynet.attacks.backdoor._repairs import answers
from securitynet.poisons import AnyTrigger
from securitynet.target import Target

if TYPE_CHECKING:
    from securitynet.data import Split

EACH = 50  # images of a class at most


@dataclass(frozen=True)
class Source:
    """`turned` of `n` images of class `source` were given the trigger's class; images that had it without the trigger are left out."""

    source: int
    turned: int
    n: int

    def __str__(self) -> str:
        return f"{self.source}: {self.turned}/{self.n}"


def by_source(target: Target, part: Split, trigger: AnyTrigger, target_class: int, seed: int = 0) -> list[Source]:
    """Return the success of a trigger for each class of `part` but its own, on at most 50 seeded images of each."""
    found = []
    for source in sorted(set(part.labels.tolist()) - {target_class}):
        rows = np.random.default_rng([seed, source]).permutation(np.flatnonzero(part.labels == source))[:EACH]
        pixels = part.pixels(np.sort(rows))
        pixels = pixels[answers(target.module, pixels) != target_class]
        turned = int((answers(target.module, trigger.stamp(pixels)) == target_class).sum()) if len(pixels) else 0
        found.append(Source(int(source), turned, len(pixels)))
    return found


def of_recovered(arrays: Mapping[str, np.ndarray], row: int) -> AnyTrigger:
    """Return a recovered trigger of saved evidence."""
    from securitynet.poisons import Trigger

    return Trigger("recovered", torch.from_numpy(arrays["masks"][row]), torch.from_numpy(arrays["patterns"][row]))
