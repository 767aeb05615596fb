"""AUC of an attack that is fitted on one half and scores the other, then the other way round.

Two fits share no scale, so each half has its own AUC, and their mean is the number. The halves are not independent: what each
fit took from its own half by chance is measured on the other. The further apart both fits are, the more their errors correlate:
not at all where they are one function, fully where a fit of many features found nothing but chance. So the correlation is taken
from the distance of the fits: the cube root of c, half the variance of the difference of their AUCs on the same samples over
that of one AUC; at least 0.3, as fits of one feature that agree by chance need. The root and the least value were chosen by
simulation (networks, and linear fits of 1 to 20 features, fitted anew); benchmarks/coverage.py repeats it on other draws.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate
from securitynet.metrics.placements import Scores, centre_and_variance, wins
from securitynet.metrics.vocabulary import AUC

LEAST = 0.3  # correlation of both halves' errors
Sides = tuple[Scores, Scores]
Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]


class Crossed(NamedTuple):
    """The mean AUC of both halves, the centre of its interval, and its standard error."""

    value: float
    centre: float
    error: float


def crossed_auc(first: Sides, second: Sides, known: Masks) -> Estimate:
    """Return the mean of two AUCs: of `first` on the samples not `known`, and of `second` on the known ones.

    `first` and `second` are both fits' scores of all (members [n], non-members [m]); `first` was fitted on the known ones,
    `second` on the others; `known` holds a mask for each group.
    """
    n = len(first[0]) + len(first[1])
    if min(int(side.sum()) for mask in known for side in (mask, ~mask)) < 2:
        return Estimate(AUC, None, n, reason="needs two members and two non-members in each half")
    found = crossed(first, second, known)
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) * found.error
    low, high = min(found.value, found.centre - reach), max(found.value, found.centre + reach)
    return Estimate(AUC, found.value, n, max(0.0, low), min(1.0, high), "DeLong, cross-fitted")


def crossed(first: Sides, second: Sides, known: Masks) -> Crossed:
    """Return what crossed_auc() reports; each half of each group needs two samples."""
    halves = [(first, second, tuple(~mask for mask in known)), (second, first, known)]
    values, centres, variances, between = [], [], [], []
    for own, other, chosen in halves:
        sides, others = ((one[0][chosen[0]], one[1][chosen[1]]) for one in (own, other))
        won = wins(*sides)
        centre, variance = centre_and_variance(won)
        values.append(float(won.members.mean() / len(sides[1])))
        centres.append(centre)
        variances.append(variance)
        gaps = [(a - b) / size for a, b, size in zip(won, wins(*others), (len(sides[1]), len(sides[0])), strict=True)]
        between.append(sum(float(gap.var(ddof=1)) / len(gap) for gap in gaps))
    most = math.sqrt(variances[0] * variances[1])
    apart = min(sum(between) / 4 / most, 1.0) if most > 0 else 1.0
    covariance = max(LEAST, apart ** (1 / 3)) * most
    return Crossed(sum(values) / 2, sum(centres) / 2, math.sqrt(sum(variances) / 4 + covariance / 2))
