"""What a repair did: accuracy and trigger success before and after, by the true trigger, by the found one, and by one found anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from securitynet.attacks.backdoor import Recovered
from securitynet.attacks.backdoor._inversion.group import stamp
from securitynet.attacks.backdoor._repairs import Images, Repair, accuracy, answers, fine_pruning, unlearning
from securitynet.attacks.backdoor.neural_cleanse import NeuralCleanse
from securitynet.cache import ArrayCache
from securitynet.errors import Skipped
from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.vocabulary import TEST_ACCURACY, TRIGGER_SUCCESS, TRUE_TRIGGER_SUCCESS
from securitynet.poisons import known
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits

FEWEST = 40  # clean images, half to repair with and half to judge by
Stamp = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Judged:
    """A network after `repair` ("none" before): accuracy, success of the true trigger (None: not known) and of the found one.

    `again`: the smallest trigger that an inversion run anew finds.
    """

    repair: str
    accuracy: Estimate
    true: Estimate | None
    found: Estimate | None
    again: Recovered

    @property
    def record(self) -> dict[str, object]:
        """A JSON record."""
        ranges = {"accuracy": self.accuracy, TRUE_TRIGGER_SUCCESS: self.true, "found_trigger_success": self.found}
        said: dict[str, object] = {"repair": self.repair}
        for name, one in ranges.items():
            said[name] = None if one is None else {"value": one.value, "ci_low": one.ci_low, "ci_high": one.ci_high, "n": one.n}
        again = {"class": self.again.target_class, "share": self.again.share, "successes": self.again.successes, "n": self.again.n}
        return {**said, "inversion_anew": again}


@dataclass(frozen=True, eq=False)
class Defence:
    """A model to repair, with the images to do it with and those to judge it by (no image in both), and its trigger found first."""

    target: Target
    splits: Splits
    accelerator: Accelerator
    clean: Images
    judges: Images
    found: Recovered
    true: Stamp | None
    wanted: int | None

    @classmethod
    def of(cls, target: Target, splits: Splits, accelerator: Accelerator) -> Defence:
        """Find a trigger, and part the clean test images in two halves by seed. Raises Skipped for fewer than 40."""
        part = splits.test if splits.test is not None else splits.non_members
        if part is None or len(part) < FEWEST:
            raise Skipped(f"a repair needs {FEWEST} clean images, half of them to be judged by")
        order = np.random.default_rng(splits.seed).permutation(len(part))
        halves = [np.sort(half) for half in np.array_split(order, 2)]
        clean, judges = (_images(part, half) for half in halves)
        judged = replace(part, indices=part.indices[halves[1]], labels=part.labels[halves[1]])
        splits = replace(splits, test=judged, non_members=None, queries=None, members=None)
        found = NeuralCleanse()(target, splits, accelerator).recovered[0]
        return cls(target, splits, accelerator, clean, judges, found, *_true(target))

    def none(self) -> Judged:
        """Return the model as it is."""
        return self._judged("none", self.target)

    def repaired(self, name: str) -> Judged:
        """Return the model after one of repairs(). Raises Skipped where it does not apply."""
        network = repairs(self.found)[name](self.target.module, self.clean, self.accelerator)
        return self._judged(name, self.target.wrap(lambda _: network))

    def _judged(self, name: str, target: Target) -> Judged:
        target = replace(target, cache=ArrayCache(None), split_outputs={})
        again = NeuralCleanse()(target, self.splits, self.accelerator).recovered[0]
        right = round(accuracy(target.module, self.judges) * len(self.judges.labels))
        true = None if self.true is None else self._success(target, self.true, self.wanted)
        found = self._success(target, partial(stamped, self.found), self.found.target_class)
        return Judged(name, rate(TEST_ACCURACY, right, len(self.judges.labels)), true, found, again)

    def _success(self, target: Target, put: Stamp, wanted: int | None) -> Estimate:
        """How many images a trigger turns into the wanted class; None: each into the next class."""
        aims = (self.judges.labels + 1) % target.num_classes if wanted is None else torch.full_like(self.judges.labels, wanted)
        others = self.judges.labels != aims
        said = answers(target.module, put(self.judges.pixels[others]))
        return rate(TRIGGER_SUCCESS, int((said == aims[others]).sum()), int(others.sum()))


def repairs(found: Recovered) -> dict[str, Repair]:
    """Return the repairs by name; unlearning is of the trigger that was found."""
    return {"fine-pruning": fine_pruning, "unlearning": partial(unlearning, stamp=partial(stamped, found))}


def stamped(found: Recovered, pixels: Tensor) -> Tensor:
    """Return pixels [n, c, ...] with a recovered trigger on them."""
    return stamp(pixels[None], torch.cat([found.mask, found.pattern])[None].to(pixels.device))[0]


def _images(part: Split, rows: np.ndarray) -> Images:
    return Images(part.pixels(rows), torch.from_numpy(part.labels[rows]))


def _true(target: Target) -> tuple[Stamp | None, int | None]:
    """The recorded trigger and its class, where there is one."""
    if target.entry.backdoor in (None, "none"):
        return None, None
    try:
        return known(target.entry, target.folder).stamp, target.entry.backdoor_target
    except Skipped:
        return None, None
