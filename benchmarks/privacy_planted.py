"""Bounds of one run on mechanisms whose epsilon is known: python benchmarks/privacy_planted.py [--runs 2000]

A mu-Gaussian mechanism tells, of each canary, normal noise, moved by mu where its coin put it in. Counts the runs in which the bound
exceeds the true epsilon (at most 5 %), and compares the mean bound with the published formulas on the same guesses: that of Steinke,
Nasr & Jagielski (2023, appendix) by a plain loop and bisection, and the recursion of Mahloujifar, Melis & Chaudhuri (2024) on the grid of
1 / sigma that PrivacyGuard searches (sigma = .001 + .01 i), with 0 where it rejects nothing.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri

from securitynet import canaries
from securitynet.metrics import privacy
from securitynet.metrics.privacy import Guesses


@cache
def published(found: Guesses, delta: float, miss: float = 0.05) -> float:
    """The largest epsilon that the theorem rejects, by bisection over a loop."""

    def p_value(epsilon: float) -> float:
        share = 1 / (1 + math.exp(-epsilon))
        largest = total = 0.0
        chances = stats.binom.pmf(np.arange(found.right), found.made, share)
        for i in range(1, found.right + 1):
            total += float(chances[found.right - i])
            largest = max(largest, total / i)
        return float(stats.binom.sf(found.right - 1, found.made, share)) + 2 * found.canaries * delta * largest

    low, high = 0.0, 10.0
    if p_value(low) >= miss:
        return 0.0
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(middle) < miss else (low, middle)
    return low


@cache
def published_gaussian(found: Guesses, miss: float = 0.05) -> float:
    """The largest mu = 1 / sigma on the grid that the recursion rejects; 0 where it rejects none."""
    right, made, count = found
    for i in range(1000):
        mu = 1 / (0.001 + 0.01 * i)
        inside, outside = miss * right / count, miss * (made - right) / count
        for left in range(right - 1, -1, -1):
            more = max(outside, float(ndtr(ndtri(inside) - mu)))
            inside, outside = inside + left / (made - left) * (more - outside), more
        if inside + outside > made / count:
            return mu
    return 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    args = parser.parse_args(arguments)
    for count in (1000, 5000):
        labels = np.zeros(count, np.int64)
        planted = canaries.Canaries(np.arange(count, dtype=np.int64)[:, None], labels, labels > 0, "natural", 0)
        for mu in (0.5, 1.0, 2.0):
            true = privacy.epsilon_of(mu, canaries.DELTA)
            rng, found = np.random.default_rng([count, int(10 * mu)]), []
            for run in range(args.runs):
                drawn = replace(planted, included=rng.random(count) < 0.5, seed=run)
                logits = np.column_stack([mu * drawn.included + rng.standard_normal(count), np.zeros(count)])
                found.append(drawn.audit(logits))
            above, above_mu = sum(one.epsilon > true for one in found), sum(one.mu > mu for one in found)
            means = [np.mean([getattr(one, name) for one in found]) for name in ("epsilon", "mu")]
            theirs = [
                np.mean([form(one.guesses, *rest) for one in found])
                for form, rest in ((published, (canaries.DELTA,)), (published_gaussian, ()))
            ]
            sys.stdout.write(
                f"{count} canaries, mu {mu:g}: epsilon {true:.3f}, bound above it in {above} of {args.runs}, mean {means[0]:.3f} "
                f"(published formula {theirs[0]:.3f}); mu above in {above_mu}, mean {means[1]:.3f} (published recursion {theirs[1]:.3f})\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
