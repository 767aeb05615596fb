"""Class after class of a model, in groups that fit into memory and, if one is given, into a time budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from securitynet.attacks.backdoor import Statistics

if TYPE_CHECKING:
    from securitynet.target import Target

log = logging.getLogger(__name__)
PIXELS = {"cpu": 2**21, "cuda": 2**26}  # values of input in one batch


@dataclass(frozen=True, eq=False)
class Measured:
    """A statistic per class [k], and how many images went through the model forward and backward to get it."""

    values: Tensor
    forward: int
    backward: int


@dataclass(frozen=True, eq=False)
class Sweep:
    """Statistics of all classes, float64 [k], NaN where the budget ended before; what they cost; `remark` names what is missing."""

    statistics: Statistics
    forward: int
    backward: int
    remark: str | None = None


def class_by_class(
    measure: Callable[[Tensor], Measured], target: Target, per_class: int, seconds: float | None, seed: int, device: torch.device
) -> Sweep:
    """Return measure(classes) of every class of `target`, `per_class` images each, in groups of as many as fit into a batch.

    With several groups the classes come in seeded random order, so that those done when `seconds` are over are a fair
    sample; after the first group, the time that the rest will take is logged.
    """
    count = target.num_classes
    order = np.random.default_rng(seed).permutation(count)
    groups = np.array_split(order, -(-count // group_size(target, per_class, device)))
    statistics, forward, backward, start = np.full(count, np.nan), 0, 0, time.perf_counter()
    for number, group in enumerate(groups):
        spent = time.perf_counter() - start
        if number and seconds is not None and spent * (number + 1) / number > seconds:
            break
        if number == 1:
            log.info("%d classes in %d groups: about %.0f s", count, len(groups), spent * len(groups))
        classes = np.sort(group)
        found = measure(torch.from_numpy(classes).to(device))
        statistics[classes] = found.values.double().cpu().numpy()
        forward, backward = forward + found.forward, backward + found.backward
    done = int((~np.isnan(statistics)).sum())
    remark = None if done == count else f"{done} of {count} classes within {seconds:g} s" if seconds else f"{done} of {count} classes"
    return Sweep(statistics, forward, backward, remark)


def group_size(target: Target, per_class: int, device: torch.device) -> int:
    """Return how many classes of `per_class` images each make one batch."""
    values = int(np.prod(target.entry.input_size or (1,))) * per_class
    return max(1, PIXELS.get(device.type, PIXELS["cuda"]) // values)


def lead(logits: Tensor, classes: Tensor) -> Tensor:
    """Return how far the logit of its class, int64 [n], lies above the largest other one, float [n], of logits [n, k]."""
    own = logits.gather(1, classes[:, None])[:, 0]
    return own - logits.scatter(1, classes[:, None], -torch.inf).amax(1)


def uniform(classes: Tensor, count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Return uniform random images [k, count, *shape] in [0,1], each class with its own seed, on the classes' device."""
    drawn = [torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed * 1_000_003 + int(one))) for one in classes]
    return torch.stack(drawn).to(classes.device)
