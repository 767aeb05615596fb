"""How many classes go through the model at once, and what the whole search will cost."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from securitynet.attacks.backdoor._inversion.halving import FEWEST, SHARE

if TYPE_CHECKING:
    from securitynet.attacks.backdoor._inversion.search import Search
    from securitynet.attacks.backdoor._inversion.settings import InversionSettings

VALUES, VALUES_CUDA = 2**19, 2**27  # pixel values that go through the model at once
MEASURED = 2  # passes that the estimate takes


def at_once(search: Search, classes: Sequence[int]) -> int:
    """Return how many classes go through the model at once: on CUDA, as many as were tried and fit into memory."""
    from accelerate.utils import find_executable_batch_size

    cuda = search.pool.pixels.is_cuda
    a_class = search.settings.batch_size * math.prod(search.shape)
    size = min(len(classes), max(1, (VALUES_CUDA if cuda else VALUES) // a_class))
    if not cuda:
        return size
    return int(find_executable_batch_size(lambda number: _tried(search, classes[:number]), starting_batch_size=size)())


def _tried(search: Search, classes: Sequence[int]) -> int:
    seconds_per_update(search, classes)
    return len(classes)


def seconds_per_update(search: Search, classes: Sequence[int]) -> float:
    """Return the time of one forward and backward pass of these classes together, the second of two."""
    group = search.start(list(classes))
    images = search.pool.pixels[: search.settings.batch_size].expand(len(classes), *[-1] * (len(search.shape) + 1))
    seconds = 0.0
    for _ in range(MEASURED):
        start = time.perf_counter()
        search.gradient(group, images)
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        seconds = time.perf_counter() - start
    return seconds


def most(settings: InversionSettings, count: int) -> int:
    """Return how many (class, step) pairs a search over `count` classes takes at most."""
    running, pairs, done = count, 0, 0
    for rung, until in enumerate(settings.rungs, 1):
        pairs += running * (until - done)
        running, done = min(running, max(FEWEST if rung == 1 else 1, count // SHARE**rung)), until
    return pairs


def fewest(settings: InversionSettings, count: int) -> int:
    """Return how many (class, step) pairs a search takes that ends at the second rung, since no class can win."""
    first, second = settings.rungs[0], settings.rungs[min(1, len(settings.rungs) - 1)]
    return count * first + min(count, max(FEWEST, count // SHARE)) * (second - first)


def expected(settings: InversionSettings, count: int) -> int:
    """Return how many images a search over `count` classes sends forward and backward: half way from the least to the most."""
    return (fewest(settings, count) + most(settings, count)) * settings.per_step // 2


def planned(search: Search, classes: Sequence[int], size: int) -> str:
    """Return a sentence: what the search will cost at most, by a short measurement."""
    settings = search.settings
    pairs = most(settings, len(classes)) * settings.updates
    seconds = seconds_per_update(search, classes[:size]) * pairs / size
    limit = "" if settings.budget is None else f", bounded to {settings.budget:,} passes"
    return (
        f"inverting triggers of {len(classes)} classes, {size} at a time: at most {pairs * settings.batch_size:,} images "
        f"forward and backward, about {max(1, seconds):.0f} s{limit}"
    )
