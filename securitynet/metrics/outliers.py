"""How far the smallest of some numbers lies below the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

CONSISTENT = 1.4826  # makes the median absolute deviation of a normal sample its standard deviation


def anomaly_index(values: ArrayLike) -> float | None:
    """Return (median - smallest) / (1.4826 * median absolute deviation) of `values` [k], one-sided: zero or above.

    The rule of Neural Cleanse (Wang et al. 2019) for the smallest mask. None where fewer than three values are finite or
    their deviation is zero.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    if len(array) < 3:
        return None
    median = float(np.median(array))
    deviation = CONSISTENT * float(np.median(np.abs(array - median)))
    return (median - float(array.min())) / deviation if deviation > 0 else None


def times_smaller(values: ArrayLike) -> float:
    """Return the natural logarithm of median over smallest of positive `values` [k]; zero where there are fewer than two."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    return float(np.log(np.median(array) / array.min())) if len(array) > 1 else 0.0
