"""Whether the one who serves a model would notice: PRADA (Juuti et al., EuroS&P 2019, arXiv 1805.02628, section 5).

The distances of each query from the earlier ones of its class are about normal for ordinary users, and are not where queries are
made up. Which deviation is too much is set on ordinary users: test images in random order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.vocabulary import DETECTED_AFTER, DETECTION_FALSE_ALARMS

Images = NDArray[np.float32]
Classes = NDArray[np.int64]
LONGEST = 1000  # queries of one user that are looked at
USERS = 19  # ordinary users that set the level: the next one falls below all of them with probability 1/20
EVERY, FEWEST, ENOUGH, FAR = 10, 10, 100, 3.0
SIDE = 32  # pixels; larger images are compared at this size


@dataclass
class Growing:
    """Of one class: the growing set (rows), the distances of all queries from it, and those of its members."""

    members: list[int] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    joined: list[float] = field(default_factory=list)
    threshold: float = 0.0

    def add(self, row: int, away: Images) -> None:
        """Take in the query of `row`, whose distances from all queries are `away` [n]."""
        if not self.members:
            self.members.append(row)
            return
        least = float(away[self.members].min())
        self.distances.append(least)
        if least > self.threshold:
            self.members.append(row)
            self.joined.append(least)
            self.threshold = max(self.threshold, float(np.mean(self.joined) - np.std(self.joined)))


def statistics(images: Images, classes: Classes) -> list[tuple[int, float]]:
    """Return Shapiro and Wilk's W of the distances after every tenth query of [n, d], as (queries, W), from 100 distances on."""
    sets: dict[int, Growing] = {}
    found, away = [], torch.cdist(torch.from_numpy(images), torch.from_numpy(images)).numpy()
    for count, label in enumerate(classes, 1):
        sets.setdefault(int(label), Growing()).add(count - 1, away[count - 1])
        if count % EVERY:
            continue
        known = [one.distances for one in sets.values() if len(one.distances) >= FEWEST]
        pooled = np.concatenate(known) if known else np.empty(0)
        kept = pooled[np.abs(pooled - pooled.mean()) <= FAR * pooled.std()] if len(pooled) else pooled
        if len(kept) > ENOUGH and kept.std() > 0:
            found.append((count, float(stats.shapiro(kept).statistic)))
    return found


def estimates(queries: Images, classes: Classes, ordinary: Images, ordinary_classes: Classes, seed: int = 0) -> list[Estimate]:
    """Return after how many queries [n, d] an alarm is raised, and how often for ordinary users.

    The level is the lowest W of USERS ordinary users; as many others show its false alarms. Users draw from the same images, so
    their rates are not independent, and the interval is too narrow where users send most of the images that there are.
    """
    rng, size = np.random.default_rng((seed, 5)), min(LONGEST, len(ordinary), max(len(queries), 200))
    lowest = []
    for _ in range(2 * USERS):
        rows = rng.permutation(len(ordinary))[:size]
        lowest.append(min((w for _, w in statistics(ordinary[rows], ordinary_classes[rows])), default=1.0))
    level = min(lowest[:USERS])
    false = rate(DETECTION_FALSE_ALARMS, sum(w < level for w in lowest[USERS:]), USERS)
    judged = queries[:size]
    after = next((count for count, w in statistics(judged, classes[:size]) if w < level), None)
    said = f"W below {level:.3f}, the lowest of {USERS} users with {size:,} test images each"
    if after is None:
        return [Estimate(DETECTED_AFTER, None, len(judged), reason=f"not noticed in {len(judged):,} queries ({said})"), false]
    return [Estimate(DETECTED_AFTER, float(after), len(judged), reason=said), false]


def flattened(images: torch.Tensor) -> Images:
    """Return images uint8 or float [n, c, h, w] as points [n, d] in [0,1], at SIDE pixels where they are larger."""
    pixels = images.float().div(255) if images.dtype == torch.uint8 else images.float()
    if max(pixels.shape[2:]) > 2 * SIDE:
        pixels = torch.nn.functional.interpolate(pixels, (SIDE, SIDE), mode="area")
    return pixels.flatten(1).numpy().astype(np.float32)
