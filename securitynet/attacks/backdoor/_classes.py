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

from securitynet.attacks.backdoor._outliers import Statistics
from securitynet.errors import CutShort

if TYPE_CHECKING:
    from securitynet.target import Target

log = logging.getLogger(__name__)
PIXELS = {"cpu": 2**19, "cuda": 2**26}  # values of input in one batch: with gradients, a wide ResNet at 32 x 32 takes 4 GB for 2**19
COMPARED = 10  # classes with a statistic, below which one of many cannot be said to stand out: as many as the nulls have


@dataclass(frozen=True, eq=False)
class Measured:
    """A statistic per class [k], and how many images went through the model forward and backward to get it."""

    values: Tensor
    forward: int
    backward: int


@dataclass(frozen=True, eq=False)
class Sweep:
    """Statistics of all classes, float64 [k], NaN where the budget ended before; what they cost.

    `remark` names what is missing; `complete`: nothing is missing for want of time.
    """

    statistics: Statistics
    forward: int
    backward: int
    remark: str | None = None
    complete: bool = True


def class_by_class(
    measure: Callable[[Tensor], Measured], target: Target, per_class: int, seconds: float | None, seed: int, device: torch.device
) -> Sweep:
    """Return measure(classes) of every class of `target`, `per_class` images each, in groups of as many as fit into a batch.

    With several groups the classes come in seeded random order, so that those done when `seconds` are over are a fair
    sample; then the first group is ten classes at most, and no later one is larger than what is left allows. After the first,
    the time that all will take is logged. Raises CutShort where fewer than ten classes, and not all, are done by then: a gap
    over few others is often large.
    """
    count, size = target.num_classes, group_size(target, per_class, device)
    rest = np.random.default_rng(seed).permutation(count)
    statistics, forward, backward, start = np.full(count, np.nan), 0, 0, time.perf_counter()
    while number := _next(count, len(rest), size, time.perf_counter() - start, seconds):
        classes, rest = np.sort(rest[:number]), rest[number:]
        found = measure(torch.from_numpy(classes).to(device))
        statistics[classes] = found.values.double().cpu().numpy()
        forward, backward = forward + found.forward, backward + found.backward
        if number == count - len(rest) < count:
            limit = "" if seconds is None else f", bounded to {seconds:.0f} s"
            log.info("%d classes: about %.0f s%s", count, (time.perf_counter() - start) * count / number, limit)
    return Sweep(statistics, forward, backward, _missing(statistics, count - len(rest), seconds), not len(rest))


def _next(count: int, left: int, size: int, spent: float, seconds: float | None) -> int:
    """Return how many classes the next group has, of `left` of `count`; 0 ends it."""
    number = -(-left // -(-left // size)) if left else 0
    if seconds is None:
        return number
    done = count - left
    allowed = int(done * max(0.0, seconds - spent) / max(spent, 1e-9)) if done else COMPARED
    return min(number, allowed)


def _missing(statistics: Statistics, done: int, seconds: float | None) -> str | None:
    """Say how many classes have a statistic where not all have, and why. Raises CutShort for too few within the time."""
    count, measured = len(statistics), int((~np.isnan(statistics)).sum())
    if done < count and measured < COMPARED:
        raise CutShort(f"only {measured} of {count} classes within {seconds:g} s: too few to compare")
    if done < count:
        return f"{measured} of {count} classes within {seconds:g} s"
    return None if measured == count else f"only {measured} of {count} classes have a statistic"


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
