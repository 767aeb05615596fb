"""How well a detector tells models (or inputs) with a backdoor from clean ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.intervals import Estimate, rate


def rates(flagged: NDArray[np.bool_], backdoored: NDArray[np.bool_]) -> list[Estimate]:
    """Return true_positive_rate, false_positive_rate and precision of alarms, bool [n] each, with exact intervals.

    A rate over no cases (no backdoored ones, no clean ones, no alarms) has no value and says why.
    """
    flagged, backdoored = np.asarray(flagged, dtype=bool), np.asarray(backdoored, dtype=bool)
    hits = int((flagged & backdoored).sum())
    return [
        rate("true_positive_rate", hits, int(backdoored.sum())),
        rate("false_positive_rate", int((flagged & ~backdoored).sum()), int((~backdoored).sum())),
        rate("precision", hits, int(flagged.sum())),
    ]
