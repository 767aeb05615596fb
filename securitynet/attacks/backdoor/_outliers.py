"""Does one class stand out from the others? A score for any statistic, and the order-statistic test of MM-BD."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

from securitynet.errors import Skipped

Statistics = NDArray[np.float64]  # one per class, NaN where a class has none
FEWEST = 4  # classes from which a spread can be estimated; with fewer, the score is the plain gap


def first_candidate(statistics: Statistics) -> int:
    """Return the class with the largest statistic (the first of equals), classes without one left out.

    Raises Skipped where no class, or only one, has a finite statistic: there is nothing to stand out from.
    """
    if np.isfinite(statistics).sum() < 2:
        raise Skipped("fewer than two classes have a statistic: there is nothing to stand out from")
    return int(np.nanargmax(np.where(np.isfinite(statistics), statistics, np.nan)))


def standardised_gap(statistics: Statistics, floor: float = 0.0) -> float:
    """Return how many standard deviations of the others, `floor` added to each, the largest statistic lies above their mean.

    A floor keeps a small gap from counting as a large one where the others happen to agree (the constant s0 of Tusher et al.
    2001, PNAS 98:5116). With fewer than four classes, or a spread of zero, it is the gap itself: a null of the same class
    count makes either a p-value.
    """
    first = first_candidate(statistics)
    others = np.delete(statistics, first)
    others = others[np.isfinite(others)]
    gap = float(statistics[first] - others.mean())
    spread = float(others.std(ddof=1)) if len(others) >= FEWEST - 1 else 0.0
    return gap / (spread + floor) if spread > 0 else gap


def order_statistic_p(statistics: Statistics) -> float | None:
    """Return 1 - F(largest)^k, where F is the gamma distribution fitted to the other k - 1 statistics by maximum likelihood.

    The chance that the largest of k draws from F is at least so large (Wang et al. 2024, MM-BD, section III). None where
    fewer than three others are left or they are all equal. Computed so that tiny values do not become zero early.
    """
    first = first_candidate(statistics)
    others = np.delete(statistics, first)
    others = others[np.isfinite(others)]
    if len(others) < FEWEST - 1 or np.ptp(others) == 0:
        return None
    shape, start, scale = gamma.fit(others)
    tail = float(gamma.sf(statistics[first], shape, start, scale))
    return 1.0 if tail >= 1 else -math.expm1((len(others) + 1) * math.log1p(-tail))
