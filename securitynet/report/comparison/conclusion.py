"""What a comparison of two saved models comes to, in one sentence per family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scipy import stats

from securitynet.metrics.vocabulary import AGREEMENT, AUC, TEST_ACCURACY

if TYPE_CHECKING:
    from securitynet.report.comparison.compare import Difference
    from securitynet.report.page.marks import Mark

MISS = 0.05  # of all attacks of a family together: how often one is called different that is not


def conclusion(
    names: tuple[str, str], differences: Sequence[Difference], marks: tuple[Sequence[Mark], Sequence[Mark]], comparable: bool
) -> str:
    """Return what the differences say together: accuracy, membership, stealing, each corrected for its number of attacks (Bonferroni).

    `marks` are the severities of both; those that differ are named. Without the same dataset nothing is concluded.
    """
    if not comparable:
        return "Nothing follows for the models: they were measured on different datasets."
    accuracy = [one for one in differences if one.metric == TEST_ACCURACY]
    leaks = [one for one in differences if one.metric == AUC and one.attack.startswith("membership/")]
    copies = [one for one in differences if one.metric == AGREEMENT]
    said = [_said(names, accuracy, "is more accurate than", 100.0, "points of test accuracy")]
    said += [
        _said(names, leaks, "leaks more membership than", 1.0, "in AUC"),
        _said(names, copies, "is copied better than", 100.0, "points of agreement"),
    ]
    found = [one for one in said if one]
    return " ".join(found + _marked(names, marks)) or "There is nothing to conclude: no attack was run on both."


def _said(names: tuple[str, str], own: Sequence[Difference], verb: str, scale: float, unit: str) -> str:
    """One sentence on a family of differences; empty where there is none with an interval."""
    bounded = [(one, *_widened(one, len(own))) for one in own if one.ci_low is not None and one.ci_high is not None]
    if not bounded:
        return ""
    count = "" if len(own) == 1 else f", corrected for {len(own)} attacks"
    more = max(bounded, key=lambda each: each[1])
    less = min(bounded, key=lambda each: each[2])
    above, below = more[1] > 0, less[2] < 0
    if above and below:
        return f"By {more[0].label} {names[0]} {verb} {names[1]}, by {less[0].label} the other way round{count}."
    if not above and not below:
        return f"Neither {verb.replace(' than', '')} by an amount that these samples can show{count}."
    one, low, high = more if above else less
    first, second = names if above else (names[1], names[0])
    value, least = (one.difference, low) if above else (-one.difference, -high)
    by = "" if one.metric == TEST_ACCURACY else f", most clearly by {one.label}"
    return f"{first} {verb} {second}{by}: {scale * value:.3g} {unit}, at least {scale * least:.3g}{count}."


def _widened(one: Difference, count: int) -> tuple[float, float]:
    """The ends of a 95 % interval widened so that the intervals of `count` differences hold together (normal)."""
    factor = stats.norm.isf(MISS / 2 / count) / stats.norm.isf(MISS / 2)
    low, high = one.ci_low or 0.0, one.ci_high or 0.0
    return one.difference - (one.difference - low) * factor, one.difference + (high - one.difference) * factor


def _marked(names: tuple[str, str], marks: tuple[Sequence[Mark], Sequence[Mark]]) -> list[str]:
    different = [
        f"{own.risk} {own.severity} and {other.severity}" for own, other in zip(*marks, strict=True) if own.severity != other.severity
    ]
    return [f"Severities that differ ({names[0]}, {names[1]}): {'; '.join(different)}."] if different else []
