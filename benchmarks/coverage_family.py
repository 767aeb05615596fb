"""Cases of benchmarks/coverage.py about several fits and several attacks: cross-fitted AUCs, and lower ends that hold together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from coverage_cases import LEAKS, SIZES, Case, Draw, Triple
from scipy import stats

from securitynet.metrics import crossed, operating, simultaneous

Array = np.ndarray


def cases() -> Iterator[Case]:
    """Linear fits of 1, 5 and 20 features, fitted anew for each model; fifteen attacks on the same samples; one-sided ends."""
    for n, m in SIZES:
        for d in (0.0, 0.3, 1.0):
            for features in (1, 5, 20):
                about = f"{n}+{m}, d' {d:g}, {features} features, fitted anew"
                yield Case("crossed.crossed_auc", about, linear(n, m, d, features))
        for d, s in LEAKS:
            yield Case("simultaneous.lower_limits", f"{n}+{m}, d' {d:g}, 15 attacks, 97.5 %", joint(n, m, d, s), exact=True)
            for shift in (0.0, 0.2):
                yield Case("simultaneous.beyond", f"{n}+{m}, d' {d:g}, shift {shift:g}, out-model of two fits", outside(n, m, d, s, shift))
            yield Case("operating.lower_end", f"{n}+{m}, d' {d:g}, FPR 0.01, 97.5 %", ends(n, m, d, s), exact=True)


def linear(n: int, m: int, d: float, features: int) -> Draw:
    """An attack that scores by the difference of the known halves' means."""

    def draw(rng: np.random.Generator) -> Iterator[Triple]:
        members, others = rng.standard_normal((n, features)), rng.standard_normal((m, features))
        members[:, 0] += d
        known = rng.random(n) < 0.5, rng.random(m) < 0.5
        fits = [members[own].mean(axis=0) - others[other].mean(axis=0) for own, other in (known, [~mask for mask in known])]
        truth = float(np.mean([stats.norm.cdf(fit[0] * d / np.linalg.norm(fit) / math.sqrt(2)) for fit in fits]))
        found = crossed.crossed_auc(*((members @ fit, others @ fit) for fit in fits), known)
        yield truth, found.ci_low, found.ci_high

    return draw


def joint(n: int, m: int, d: float, s: float, attacks: int = 15) -> Draw:
    def draw(rng: np.random.Generator) -> Iterator[Triple]:
        base = rng.standard_normal(n), rng.standard_normal(m)
        areas = []
        for number in range(attacks):
            rho = 0.5 + 0.5 * number / attacks
            inside, outside = (rho * part + math.sqrt(1 - rho**2) * rng.standard_normal(len(part)) for part in base)
            areas.append(simultaneous.area(d + s * inside, outside))
        limits = simultaneous.lower_limits(areas, 0.025)
        yield 0.0, max(limits) - float(stats.norm.cdf(d / math.hypot(1, s))), 1.0

    return draw


def outside(n: int, m: int, d: float, s: float, shift: float) -> Draw:
    """An image's difficulty moves the model and two out-models, each on its own scale; a shift makes members easier for all three.

    Each out-model scores the half that it did not hold. The leak, d, is the model's alone.
    """

    def draw(rng: np.random.Generator) -> Iterator[Triple]:
        easy = shift + rng.standard_normal(n), rng.standard_normal(m)
        own = [0.6 * part + 0.8 * rng.standard_normal(len(part)) for part in easy]
        mine = simultaneous.area(d + s * own[0], own[1])
        held, parts, truths = (rng.random(n) < 0.5, rng.random(m) < 0.5), [], []
        for masks in (held, (~held[0], ~held[1])):
            weight, scale = rng.uniform(0.2, 0.8), rng.uniform(0.5, 2)
            scores = [scale * (weight * part + math.sqrt(1 - weight**2) * rng.standard_normal(len(part))) for part in easy]
            parts.append(simultaneous.weighted_area(scores[0], scores[1], masks))
            truths.append(stats.norm.cdf(weight * shift / math.sqrt(2)))
        found = simultaneous.beyond(mine, simultaneous.halved(parts))
        truth = float(stats.norm.cdf((d + s * 0.6 * shift) / math.hypot(1, s)) - np.mean(truths))
        yield truth, found.centre - 1.96 * found.error, found.centre + 1.96 * found.error

    return draw


def ends(n: int, m: int, d: float, s: float) -> Draw:
    truth = float(stats.norm.sf((stats.norm.isf(0.01) - d) / s))

    def draw(rng: np.random.Generator) -> Iterator[Triple]:
        yield truth, operating.lower_end(d + s * rng.standard_normal(n), rng.standard_normal(m), 0.01, 0.025), 1.0

    return draw
