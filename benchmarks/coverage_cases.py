"""The cases of benchmarks/coverage.py: every public function that gives an interval, on data whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from securitynet.metrics import bands, curve, detection, fidelity, intervals, means, membership, operating, paired, quantiles
from securitynet.metrics.intervals import Estimate
from securitynet.report.findings import statistics

Array = np.ndarray
Triple = tuple[float, float | None, float | None]  # truth, lower and upper end
Draw = Callable[[np.random.Generator], Iterator[Triple]]
SIZES = ((1000, 1000), (5000, 1000), (5000, 5000))
LEAKS = ((0.0, 1.0), (0.3, 1.3), (1.0, 1.3))


@dataclass(frozen=True)
class Case:
    """One interval at one size: `draw` yields (truth, low, high) of a simulated model, `width` is that of the interval to compare with."""

    interval: str
    setting: str
    draw: Draw
    ends: tuple[float, float] = (0.0, 1.0)
    width: float | None = None
    exact: bool = False


def of(truth: float, estimate: Estimate) -> Iterator[Triple]:
    yield truth, estimate.ci_low, estimate.ci_high


@dataclass(frozen=True)
class Normal:
    """Scores of members N(d, s) and of non-members N(0, 1), rounded to `digits` where given."""

    n: int
    m: int
    d: float
    s: float
    digits: int | None = None

    def __str__(self) -> str:
        rounded = "" if self.digits is None else f", {self.digits} digits"
        return f"{self.n}+{self.m}, d' {self.d:g}{rounded}"

    def sides(self, rng: np.random.Generator) -> tuple[Array, Array]:
        sides = self.d + self.s * rng.standard_normal(self.n), rng.standard_normal(self.m)
        return sides if self.digits is None else (sides[0].round(self.digits), sides[1].round(self.digits))

    def pair(self, rng: np.random.Generator, factor: float, rho: float) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Return the scores of two attacks with correlation `rho`, the second with a leak of `factor` times the first's."""
        other = Normal(self.n, self.m, self.d * factor, self.s)
        base, noise = Normal(self.n, self.m, 0, 1).sides(rng), Normal(self.n, self.m, 0, 1).sides(rng)
        mixed = [rho * a + math.sqrt(1 - rho**2) * b for a, b in zip(base, noise, strict=True)]
        return (self.d + self.s * base[0], base[1]), (other.d + other.s * mixed[0], mixed[1])

    def auc(self) -> float:
        if self.digits is None:
            return float(stats.norm.cdf(self.d / math.hypot(1, self.s)))
        _, inside, outside = self._atoms()
        below = np.cumsum(outside) - outside
        return float((inside * (below + outside / 2)).sum())

    def tpr(self, fpr: float) -> float:
        if self.digits is None:
            return float(stats.norm.sf((stats.norm.isf(fpr) - self.d) / self.s))
        _, inside, outside = self._atoms()
        alarms, hits = 1 - np.cumsum(outside), 1 - np.cumsum(inside)  # strictly above each value
        return float(hits[alarms <= fpr].max())

    def _atoms(self) -> tuple[Array, Array, Array]:
        step = 10.0 ** -(self.digits or 0)
        values = np.arange(-10, 15, step).round(self.digits or 0)
        edges = np.append(values - step / 2, values[-1] + step / 2)
        return values, np.diff(stats.norm.cdf((edges - self.d) / self.s)), np.diff(stats.norm.cdf(edges))

    def width(self, fpr: float) -> float:
        """Return the width of the normal interval of the rate that knows it, and the slope of the ROC."""
        at, rate = stats.norm.isf(fpr), self.tpr(fpr)
        slope = stats.norm.pdf((at - self.d) / self.s) / self.s / stats.norm.pdf(at)
        return float(2 * 1.959964 * math.sqrt(rate * (1 - rate) / self.n + slope**2 * fpr * (1 - fpr) / self.m))


def settings() -> list[Normal]:
    return [Normal(n, m, d, s) for n, m in SIZES for d, s in LEAKS]


def aucs() -> Iterator[Case]:
    small = [Normal(n, m, d, 1.3) for n, m in ((10, 10), (20, 20), (50, 50), (20, 200)) for d in (0.0, 0.3, 1.0, 3.0, 5.0)]
    ties = [Normal(1000, 1000, d, s, digits) for d, s in LEAKS for digits in (1, 0)]
    for one in [*settings(), *small, *ties]:
        yield Case("membership.auc", str(one), lambda rng, one=one: of(one.auc(), membership.auc(*one.sides(rng))))
    for p, q, n in ((0.95, 0.93, 1000), (0.999, 0.99, 1000), (0.9999, 0.999, 1000), (1.0, 0.9995, 1000), (0.999, 0.99, 100)):

        def draw(rng: np.random.Generator, p: float = p, q: float = q, n: int = n) -> Iterator[Triple]:
            return of(0.5 + (p - q) / 2, membership.auc((rng.random(n) < p) * 1.0, (rng.random(n) < q) * 1.0))

        yield Case("membership.auc", f"{n}+{n}, right {p:g} and {q:g}", draw)


def rates() -> Iterator[Case]:
    rounded = [Normal(5000, 5000, d, s, digits) for d, s in LEAKS for digits in (2, 1)]
    for one in [*settings(), *rounded]:
        for fpr in membership.FALSE_POSITIVE_RATES:
            width = one.width(fpr) if one.digits is None and one.m >= operating.fewest(fpr) else None

            def draw(rng: np.random.Generator, one: Normal = one, fpr: float = fpr) -> Iterator[Triple]:
                return of(one.tpr(fpr), operating.tpr_at_fpr(*one.sides(rng), fpr))

            yield Case("operating.tpr_at_fpr", f"{one}, FPR {fpr:g}", draw, width=width, exact=True)


def tails() -> Iterator[Case]:
    """True-negative rates at false-negative rates: both groups exchanged, signs turned, as the attack `tail` does."""
    for one in settings():
        for fnr in (0.01, 0.001):
            truth = float(stats.norm.cdf(one.d + one.s * stats.norm.ppf(fnr)))

            def draw(rng: np.random.Generator, one: Normal = one, fnr: float = fnr, truth: float = truth) -> Iterator[Triple]:
                inside, outside = one.sides(rng)
                return of(truth, operating.tpr_at_fpr(-outside, -inside, fnr))

            yield Case("operating.tpr_at_fpr", f"{one}, TNR at FNR {fnr:g}", draw, exact=True)


def balanced() -> Iterator[Case]:
    for one in settings():

        def draw(rng: np.random.Generator, one: Normal = one) -> Iterator[Triple]:
            inside, outside = one.sides(rng)
            n, m = one.n // 2, one.m // 2
            threshold = membership.best_threshold(inside[:n], outside[:m])
            truth = (stats.norm.sf((threshold - one.d) / one.s) + stats.norm.cdf(threshold)) / 2
            found = membership.balanced_accuracy(inside[n:], outside[m:], threshold)
            yield truth, found.ci_low, found.ci_high
            gap = membership.advantage(found)
            yield 2 * truth - 1, gap.ci_low, gap.ci_high

        yield Case("membership.balanced_accuracy, advantage", str(one), draw)


def classes() -> Iterator[Case]:
    for one in settings():
        for count in (10, 100):

            def draw(rng: np.random.Generator, one: Normal = one, count: int = count) -> Iterator[Triple]:
                labels = rng.integers(0, count, one.n), rng.integers(0, count, one.m)
                found = membership.per_class_auc(*one.sides(rng), *labels, count)
                for low, high in zip(found.ci_low, found.ci_high, strict=True):
                    if np.isfinite(low):
                        yield one.auc(), float(low), float(high)

            yield Case("membership.per_class_auc", f"{one}, {count} classes", draw)


def curves() -> Iterator[Case]:
    grid = np.concatenate([np.geomspace(1e-4, 1, 60), np.linspace(0.02, 0.99, 50)])
    for one in [*settings(), Normal(50, 50, 1.0, 1.3), Normal(20, 300, 0.0, 1.0)]:
        truth = stats.norm.sf((stats.norm.isf(grid) - one.d) / one.s)

        def draw(rng: np.random.Generator, one: Normal = one, truth: Array = truth) -> Iterator[Triple]:
            low, high = bands.roc_band(*one.sides(rng), grid)
            worst = np.maximum(low - truth, truth - high).max()
            yield 0.0, float(worst), 0.0  # held where nowhere above zero

        yield Case("bands.roc_band", str(one), draw, exact=True)


def differences() -> Iterator[Case]:
    for one in settings():
        for factor, rho in ((0.8, 0.8), (1.0, 0.97), (0.0, 0.0)):
            other = Normal(one.n, one.m, one.d * factor, one.s)

            def areas(
                rng: np.random.Generator, one: Normal = one, other: Normal = other, factor: float = factor, rho: float = rho
            ) -> Iterator[Triple]:
                return of(one.auc() - other.auc(), paired.auc_difference(*one.pair(rng, factor, rho))[0])

            about = f"{one} and {factor:g} of it, correlation {rho:g}"
            yield Case("paired.auc_difference", about, areas, (-1, 1))
            for fpr in (0.01, 0.001):

                def points(
                    rng: np.random.Generator,
                    one: Normal = one,
                    other: Normal = other,
                    factor: float = factor,
                    rho: float = rho,
                    fpr: float = fpr,
                ) -> Iterator[Triple]:
                    return of(one.tpr(fpr) - other.tpr(fpr), paired.tpr_difference(*one.pair(rng, factor, rho), fpr))

                exact = operating.rank(one.m, fpr) < paired.FEWEST_ALARMS
                yield Case("paired.tpr_difference", f"{about}, FPR {fpr:g}", points, (-1, 1), exact=exact)


def proportions() -> Iterator[Case]:
    for n, p, q in ((1000, 0.9, 0.7), (5000, 0.99, 0.98), (1000, 0.999, 0.99), (100, 0.9, 0.8)):

        def one(rng: np.random.Generator, n: int = n, p: float = p) -> Iterator[Triple]:
            return of(p, intervals.rate("x", int(rng.binomial(n, p)), n))

        def two(rng: np.random.Generator, n: int = n, p: float = p, q: float = q) -> Iterator[Triple]:
            first, second = (intervals.rate("x", int(rng.binomial(n, some)), n) for some in (p, q))
            both = intervals.difference("x", *((round((part.value or 0) * n), n) for part in (first, second)))
            yield p - q, both.ci_low, both.ci_high

        def moved(rng: np.random.Generator, n: int = n, p: float = p, q: float = q) -> Iterator[Triple]:
            sides = [membership.auc(*Normal(n, n, d, 1.3).sides(rng)) for d in (0.5, 0.2)]
            return of(Normal(n, n, 0.5, 1.3).auc() - Normal(n, n, 0.2, 1.3).auc(), paired.interval_difference("x", *sides))

        def pairs(rng: np.random.Generator, n: int = n, p: float = p, q: float = q) -> Iterator[Triple]:
            base = rng.random(n)
            first, second = base < p, np.where(rng.random(n) < 0.8, base, rng.random(n)) < q
            return of(p - q, paired.rate_difference("x", first, second)[0])

        about = f"{n}, {p:g} and {q:g}"
        yield Case("intervals.rate", about, one, exact=True)
        yield Case("intervals.difference", about, two, (-1, 1))
        yield Case("paired.interval_difference", f"{n}+{n}", moved, (-1, 1))
        yield Case("paired.rate_difference", about, pairs, (-1, 1))


def averages() -> Iterator[Case]:
    for n, spread in ((100, 1.0), (1000, 1.0), (1000, 2.0), (5000, 1.5)):

        def skewed(rng: np.random.Generator, n: int = n, spread: float = spread) -> Iterator[Triple]:
            return of(math.exp(spread**2 / 2), means.mean("kl", rng.lognormal(0, spread, n), int(rng.integers(2**31))))

        yield Case("means.mean", f"{n} lognormal, spread {spread:g}", skewed, (0, math.inf))
    for n, p in ((1000, 0.8), (1000, 0.99), (5000, 0.999)):

        def shares(rng: np.random.Generator, n: int = n, p: float = p) -> Iterator[Triple]:
            easy = rng.beta(20 * p, 20 * (1 - p), n)
            return of(p, fidelity.share("agreement", rng.random((3, n)) < easy))

        def gaps(rng: np.random.Generator, n: int = n, p: float = p) -> Iterator[Triple]:
            easy = rng.beta(20 * p, 20 * (1 - p), n)
            first, second = ((rng.random((3, n)) < easy).mean(axis=0) for _ in range(2))
            return of(0.0, curve.difference("excess", first, second))

        def ratios(rng: np.random.Generator, n: int = n, p: float = p) -> Iterator[Triple]:
            easy = rng.beta(20 * p, 20 * (1 - p), n)
            first, second = (rng.random((3, n)) < 0.9 * easy).mean(axis=0), (rng.random(n) < easy) * 1.0
            return of(0.9, curve.ratio("relative", first, second, int(rng.integers(2**31))))

        yield Case("fidelity.share, means.bounded", f"{n}, {p:g}, three copies", shares)
        yield Case("curve.difference", f"{n}, {p:g}, three copies", gaps, (-1, 1))
        yield Case("curve.ratio", f"{n}, {p:g}, three copies", ratios, (0, math.inf))
    for n, models in ((1000, 3), (1000, 5), (5000, 3)):
        for spread in (0.0, 0.02):

            def seeds(rng: np.random.Generator, n: int = n, models: int = models, spread: float = spread) -> Iterator[Triple]:
                right = rng.beta(16, 4, n) + spread * rng.standard_normal((models, 1))
                return of(0.8, means.over_models("agreement", (rng.random((models, n)) < right) * 1.0, 0.0, 1.0))

            yield Case("means.over_models", f"{n}, {models} networks, spread {spread:g}", seeds, exact=True)
    for n, part in ((100, 0.1), (100, 0.5), (500, 0.5), (500, 0.95)):

        def ranked(rng: np.random.Generator, n: int = n, part: float = part) -> Iterator[Triple]:
            return of(float(stats.lognorm.ppf(part, 1.0)), quantiles.quantile("norm", rng.lognormal(0, 1, n), part))

        yield Case("quantiles.quantile", f"{n} lognormal, share {part:g}", ranked, (0, math.inf), exact=True)
    for n in (1000, 5000):
        yield Case("curve.queries_needed", str(n), lambda rng, n=n: budgets(rng, n), (0, math.inf))
    for n in (30, 110):
        yield Case("detection.cross_entropy, brier", f"{n} models", lambda rng, n=n: chances(rng, n), (0, math.inf))
        yield Case("detection.rates", f"{n} models", lambda rng, n=n: alarms(rng, n), exact=True)


def agree(rng: np.random.Generator, n: int) -> Iterator[Triple]:
    return of(0.9, fidelity.agreement(rng.random(n) < 0.9, np.ones(n, bool)))  # type: ignore[arg-type]


def budgets(rng: np.random.Generator, n: int) -> Iterator[Triple]:
    sizes, shares = (100, 300, 1000, 3000), (0.5, 0.65, 0.78, 0.86)
    base = rng.random(n)
    right = [(np.where(rng.random(n) < 0.7, base, rng.random(n)) < share) * 1.0 for share in shares]
    for found, part in zip(curve.queries_needed(sizes, right, base < 0.95, (0.75, 0.85)), (0.75, 0.85), strict=True):
        truth = curve._crossing(sizes, np.asarray([*shares, 0.95]), part)
        yield truth, found.ci_low, found.ci_high


def chances(rng: np.random.Generator, n: int) -> Iterator[Triple]:
    given = rng.beta(0.6, 0.6, n)
    true = rng.random(n) < given
    loss = detection.cross_entropy(given, true)
    yield ENTROPY, loss.ci_low, loss.ci_high
    score = detection.brier(given, true)
    yield BRIER, score.ci_low, score.ci_high


def alarms(rng: np.random.Generator, n: int) -> Iterator[Triple]:
    bad = rng.random(n) < 0.5
    flagged = rng.random(n) < np.where(bad, 0.9, 0.05)
    for found, truth in zip(detection.rates(flagged, bad), (0.9, 0.05, 0.45 / 0.475), strict=True):
        yield truth, found.ci_low, found.ci_high


_GIVEN = np.random.default_rng(0).beta(0.6, 0.6, 4_000_000)
BRIER = float((_GIVEN * (1 - _GIVEN)).mean())
_CLIPPED = np.clip(_GIVEN, 1e-12, 1 - 1e-12)
ENTROPY = float(-(_GIVEN * np.log(_CLIPPED) + (1 - _GIVEN) * np.log1p(-_CLIPPED)).mean())


def correlations() -> Iterator[Case]:
    for n in (12, 30, 100):
        for rho in (0.0, 0.6):
            truth = 6 / math.pi * math.asin(rho / 2)

            def draw(rng: np.random.Generator, n: int = n, rho: float = rho, truth: float = truth) -> Iterator[Triple]:
                x = rng.standard_normal(n)
                found = statistics.correlate(x, rho * x + math.sqrt(1 - rho**2) * rng.standard_normal(n), int(rng.integers(2**31)))
                yield rho, found.pearson_low, found.pearson_high
                yield truth, found.spearman_low, found.spearman_high

            yield Case("statistics.correlate", f"{n} models, correlation {rho:g}", draw, (-1, 1))
        yield Case("statistics.mean_interval", f"{n} models", lambda rng, n=n: averaged(rng, n), (-math.inf, math.inf))
    yield Case("statistics.random_intercept", "60 models of 12 groups", effects, (-math.inf, math.inf))


def averaged(rng: np.random.Generator, n: int) -> Iterator[Triple]:
    low, high = statistics.mean_interval(rng.gamma(2.0, 1.0, n), int(rng.integers(2**31)))
    yield 2.0, low, high


def effects(rng: np.random.Generator) -> Iterator[Triple]:
    groups = np.repeat(np.arange(12), 5)
    x = rng.standard_normal(60)
    found = statistics.random_intercept(0.5 * x + rng.standard_normal(12)[groups] + rng.standard_normal(60), x, groups)
    yield 0.5, found.low, found.high


def cases() -> list[Case]:
    """All cases, in the order of the table."""
    parts = (aucs, rates, tails, balanced, classes, curves, differences, proportions, averages, correlations)
    agreed = [Case("fidelity.agreement, kl, total_variation", str(n), lambda rng, n=n: agree(rng, n), exact=True) for n in (1000, 5000)]
    return [case for part in parts for case in part()] + agreed
