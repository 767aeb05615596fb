"""The tests that a set of measurements allows, each with its verdict and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from securitynet.metrics.vocabulary import VOCABULARY
from securitynet.report.findings.shared_terms import definition, exact
from securitynet.report.findings.statistics import Correlation, Effect, benjamini_hochberg, correlate, holm
from securitynet.report.measure_table import GAP, TEST, TRAIN, MeasureTable, parts_of, titled

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 10  # models of a group
LEVEL = 0.05
FINDING, NOTHING, DEFINITION, UNTESTED = "finding", "no finding", "definition", "not tested"


@dataclass(frozen=True)
class Tested:
    """One hypothesis: kind (correlation, metadata, variants, security), the group it is about, x and y, its numbers, its verdict."""

    kind: str
    origin: str
    purpose: str
    dataset: str
    x: str
    y: str
    n: int
    model_types: int
    verdict: str
    sentence: str
    reason: str | None = None
    p: float | None = None
    p_holm: float | None = None
    q_bh: float | None = None
    numbers: Correlation | Effect | Mapping[str, float] | None = None

    @property
    def group(self) -> str:
        """Purpose and dataset, as `benchmark/CIFAR-100`."""
        return f"{self.purpose}/{self.dataset}"

    def to_record(self) -> dict[str, Any]:
        """Return the hypothesis as one flat JSON object."""
        numbers = dict(self.numbers) if isinstance(self.numbers, Mapping) else asdict(self.numbers) if self.numbers else {}
        own = {name: value for name, value in vars(self).items() if name != "numbers"}
        return {**numbers, **own, "group": self.group}


def outcomes(table: MeasureTable) -> list[str]:
    """Return the measures of attacks that are tested: outcomes, of those that say the same one, and what the vocabulary does not know."""
    known = {name: VOCABULARY.get(parts_of(name)[2]) for name in table.attacks()}
    return [name for name, metric in known.items() if metric is None or metric.tested]


def correlations(table: MeasureTable) -> list[Tested]:
    """Return one test per group and pair: each attack by target accuracy, membership inference by the overfitting level too."""
    pairs = [(x, y) for y in outcomes(table) for x in _explanations(y) if x in table.measures]
    found = [_correlation(key, lines, x, y) for key, lines in table.without().groups() for x, y in pairs]
    return judged([one for one in found if one is not None])


def _explanations(measure: str) -> tuple[str, ...]:
    return (GAP, TEST) if measure.startswith("membership/") else (TEST,)


def _correlation(key: tuple[str, str, str], lines: pd.DataFrame, x: str, y: str) -> Tested | None:
    both = lines[lines[x].notna() & lines[y].notna()]
    if both.empty:
        return None
    a, b = both[x].to_numpy(float), both[y].to_numpy(float)
    base = Tested("correlation", *key, x, y, len(both), both["model_type"].nunique(), UNTESTED, "")
    if reason := definition(x, y):
        return _closed(base, DEFINITION, reason)
    if reason := untestable(both, x, y):
        return _closed(base, UNTESTED, reason)
    others = [name for name in (TRAIN, TEST, GAP) if name in both and name != x and both[name].notna().all()]
    if reason := exact(a, b, both[others].to_numpy(float)):
        return _closed(base, DEFINITION, reason)
    numbers = correlate(a, b)
    return replace(base, numbers=numbers, p=numbers.spearman_p)


def _closed(one: Tested, verdict: str, reason: str) -> Tested:
    return replace(one, verdict=verdict, reason=reason, sentence=f"{_about(one)}: {verdict} ({reason})")


def untestable(lines: pd.DataFrame, x: str, y: str) -> str | None:
    """Return why x and y cannot be tested on these lines, None where they can."""
    if len(lines) < FEWEST:
        return f"{len(lines)} models are too few, {FEWEST} are needed"
    if lines[x].nunique() < 3 or lines[y].nunique() < 3:
        return "fewer than three different values"
    if x == GAP and TRAIN in lines and lines[TRAIN].notna().all() and lines[TRAIN].nunique() == 1:
        return "the train accuracy is the same number for all models, so the overfitting level is only minus the target accuracy"
    return None


def judged(tests: Sequence[Tested]) -> list[Tested]:
    """Return the tests with p-values adjusted for all of them together, their verdicts and sentences."""
    open_ = [number for number, one in enumerate(tests) if one.p is not None]
    p = [float(tests[number].p or 0.0) for number in open_]
    adjusted = dict(zip(open_, zip(holm(p), benjamini_hochberg(p), strict=True), strict=True))
    return [_verdict(one, *adjusted[number]) if number in adjusted else one for number, one in enumerate(tests)]


def _verdict(one: Tested, p_holm: float, q_bh: float) -> Tested:
    holds = p_holm < LEVEL and _clear(one)
    done = replace(one, p_holm=p_holm, q_bh=q_bh, verdict=FINDING if holds else NOTHING)
    return replace(done, sentence=sentence(done))


def _clear(one: Tested) -> bool:
    """A correlation counts where its interval excludes zero and Pearson's r has the same sign."""
    if isinstance(one.numbers, Correlation):
        low, high = one.numbers.spearman_low, one.numbers.spearman_high
        return low is not None and high is not None and low * high > 0 and one.numbers.pearson * one.numbers.spearman > 0
    return True


def sentence(one: Tested) -> str:
    """Return a sentence about a correlation, with its numbers."""
    if not isinstance(one.numbers, Correlation):
        corrected = f"{one.sentence.removesuffix(')')}, {probability(one.p_holm)} corrected)"
        return corrected if one.verdict == FINDING else f"not clear: {corrected}"
    c = one.numbers
    interval = f"95 % CI {c.spearman_low:.2f} to {c.spearman_high:.2f}, " if c.spearman_low is not None else ""
    numbers = f"(rho {c.spearman:.2f}, {interval}n {c.n}, p {probability(one.p)}, {probability(one.p_holm)} corrected)"
    y, x, models = titled(one.y), titled(one.x), f"{one.dataset}, {one.purpose} models"
    if one.verdict == FINDING:
        return f"{y} {'rises' if c.spearman > 0 else 'falls'} with {x} on {models} {numbers}"
    return f"no clear relation of {y} with {x} on {models} {numbers}"


def probability(p: float | None) -> str:
    """Return a probability for a sentence."""
    return "-" if p is None else f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"


def _about(one: Tested) -> str:
    return f"{titled(one.y)} by {titled(one.x)} on {one.dataset}, {one.purpose} models"
