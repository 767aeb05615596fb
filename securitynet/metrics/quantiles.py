"""Quantiles with exact intervals from order statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL, Estimate


def quantile(metric: str, values: NDArray[np.float64], share: float) -> Estimate:
    """Return a quantile of one number per sample [n], with its distribution-free interval (Conover 1999, section 3.2).

    The ends are order statistics, so the interval covers at least 95 % of the time whatever the distribution. Values may be infinite
    (nothing was found): an infinite quantile is None with the reason, and so are ends that no sample can give.
    """
    n = len(values)
    if n == 0:
        return Estimate(metric, None, 0, reason="no samples")
    ranked = np.sort(values)
    tail = (1 - LEVEL) / 2
    first = int(stats.binom.ppf(tail, n, share))  # samples below the lower end at most
    last = int(stats.binom.ppf(1 - tail, n, share)) + 1
    value = float(ranked[max(0, int(np.ceil(share * n)) - 1)])
    ends = [float(ranked[rank - 1]) if 1 <= rank <= n and np.isfinite(ranked[rank - 1]) else None for rank in (first, last)]
    if not np.isfinite(value):
        return Estimate(metric, None, n, ends[0], None, "order statistics", "for more of the images nothing was found")
    return Estimate(metric, value, n, ends[0], ends[1], "order statistics")
