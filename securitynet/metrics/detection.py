"""How well a detector tells models (or inputs) with a backdoor from clean ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.means import mean
from securitynet.metrics.vocabulary import BRIER, CROSS_ENTROPY, FALSE_POSITIVE_RATE, PRECISION, TRUE_POSITIVE_RATE


def rates(flagged: NDArray[np.bool_], backdoored: NDArray[np.bool_]) -> list[Estimate]:
    """Return true_positive_rate, false_positive_rate and precision of alarms, bool [n] each, with exact intervals.

    A rate over no cases (no backdoored ones, no clean ones, no alarms) has no value and says why.
    """
    flagged, backdoored = np.asarray(flagged, dtype=bool), np.asarray(backdoored, dtype=bool)
    hits = int((flagged & backdoored).sum())
    return [
        rate(TRUE_POSITIVE_RATE, hits, int(backdoored.sum())),
        rate(FALSE_POSITIVE_RATE, int((flagged & ~backdoored).sum()), int((~backdoored).sum())),
        rate(PRECISION, hits, int(flagged.sum())),
    ]


def cross_entropy(chances: NDArray[np.float64], backdoored: NDArray[np.bool_]) -> Estimate:
    """Return the mean -log of the chance, float [n], given to what is true (nats), with a bootstrap interval over models.

    Chances are kept away from 0 and 1 by 1e-12.
    """
    chances, backdoored = np.asarray(chances, dtype=np.float64), np.asarray(backdoored, dtype=bool)
    losses = -np.log(np.clip(np.where(backdoored, chances, 1 - chances), 1e-12, 1.0))
    return mean(CROSS_ENTROPY, losses)


def brier(chances: NDArray[np.float64], backdoored: NDArray[np.bool_]) -> Estimate:
    """Return the mean squared difference of the chance, float [n], from the truth (Brier 1950), with a bootstrap interval."""
    return mean(BRIER, (np.asarray(chances, dtype=np.float64) - np.asarray(backdoored, dtype=np.float64)) ** 2)
