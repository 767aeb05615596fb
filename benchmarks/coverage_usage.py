"""Cases of benchmarks/coverage.py: the share of a set that was used, over uses of 0 to 100 %, with estimated rates, and folder gaps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from coverage_cases import Case, Triple, of

from securitynet.metrics import means, usage

USES = np.linspace(0, 1, 200)
KNOWN = ((1000, 1000, 0.6, 0.4), (200, 200, 0.7, 0.3), (5000, 1000, 0.3, 0.1), (1000, 1000, 0.55, 0.5), (100, 50, 0.9, 0.05))
NETWORKS = 8


def called(rng: np.random.Generator, used: int, n: int, tpr: float, fpr: float) -> int:
    return int(rng.binomial(used, tpr) + rng.binomial(n - used, fpr))


def cases() -> Iterator[Case]:
    """Each simulated model is 200 uses."""
    for n, m, tpr, fpr in KNOWN:

        def known(rng: np.random.Generator, n: int = n, m: int = m, tpr: float = tpr, fpr: float = fpr) -> Iterator[Triple]:
            for share in USES:
                used = round(share * n)
                rates = [usage.counted(int(rng.binomial(m, one)), m) for one in (tpr, fpr)]
                yield from of(used / n, usage.share_used(called(rng, used, n, tpr, fpr), n, *rates))

        yield Case("usage.share_used", f"{n}, known {m}+{m}, TPR {tpr:g}, FPR {fpr:g}", known)
    for n, spread in ((1000, 0.0), (1000, 0.03), (400, 0.05)):

        def networks(rng: np.random.Generator, n: int = n, spread: float = spread) -> Iterator[Triple]:
            for share in USES:
                used, half = round(share * n), n // 2
                rates = np.clip(0.65 + spread * rng.standard_normal(NETWORKS + 1), 0, 1)
                tpr = usage.carried_over([rng.binomial(half, one) / half for one in rates[:-1]], half)
                fpr = usage.counted(int(rng.binomial(n, 0.35)), n)
                yield from of(used / n, usage.share_used(called(rng, used, n, rates[-1], 0.35), n, tpr, fpr))

        yield Case("usage.share_used", f"{n}, {NETWORKS} networks, TPR 0.65 +- {spread:g}, FPR 0.35", networks, exact=True)

    for n in (3, 5, 10):

        def seeds(rng: np.random.Generator, n: int = n) -> Iterator[Triple]:
            return of(0.7, means.over_seeds("auc", 0.7 + 0.02 * rng.standard_normal(n)))

        def skewed(rng: np.random.Generator, n: int = n) -> Iterator[Triple]:
            return of(0.02, means.over_seeds("tpr", 0.01 + 0.0025 * rng.gamma(4, 1, n)))

        yield Case("means.over_seeds", f"{n} seeds, normal", seeds, (-math.inf, math.inf))
        yield Case("means.over_seeds", f"{n} seeds, gamma with skewness 1", skewed, (-math.inf, math.inf))

    def gaps(rng: np.random.Generator) -> Iterator[Triple]:
        found = usage.predicted(*(lambda all_: (float(all_[0]) + 0.5, list(all_[1:])))(rng.standard_normal(NETWORKS + 1)))
        yield 0.5, found.low, found.high

    def unlike(rng: np.random.Generator) -> Iterator[Triple]:
        found = usage.welch(0.3 + 1.5 * rng.standard_t(4, 300), rng.standard_t(4, 200))
        yield 0.3, found.low, found.high

    yield Case("usage.predicted", f"{NETWORKS} networks", gaps, (-math.inf, math.inf))
    yield Case("usage.welch", "300+200, Student's t with 4 degrees of freedom", unlike, (-math.inf, math.inf))
