"""What a claim is, fixed before anything is computed, and what the measurements make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from securitynet.report.claims.data import Data
from securitynet.report.claims.estimates import Estimate, Spread

CONFIRMED, REFUTED, UNTESTED = "confirmed", "refuted", "cannot be tested"
STUDY, READERS = "the study", "readers of the study"


@dataclass(frozen=True)
class Part:
    """One piece of the evidence: its name, its estimate, and the two-sided p-values of `it holds` and `it fails`.

    `inside` is false for what is shown beside the claim but is not in its population; `reason` says why there is no number.
    """

    name: str
    estimate: Estimate | None = None
    p_holds: float | None = None
    p_fails: float | None = None
    inside: bool = True
    reason: str | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the part as one flat JSON object."""
        own = {name: value for name, value in vars(self).items() if name != "estimate"}
        return {**own, **(asdict(self.estimate) if self.estimate else {})}


@dataclass(frozen=True)
class Outcome:
    """The evidence on a claim: what decides, its parts, what limits it. Without `whole`, `reason` says why it cannot be tested."""

    whole: Part | None = None
    parts: tuple[Part, ...] = ()
    limits: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Claim:
    """A claim and its test: population, statistic, covariates; `sign` of the claimed effect (0: any) and the smallest that counts."""

    id: str
    text: str
    stated_by: str
    population: str
    statistic: str
    covariates: str
    refuted_if: str
    unit: str
    sign: int
    margin: float
    test: Callable[[Data, Claim], Outcome]
    limits: tuple[str, ...] = ()

    def part(self, name: str, spread: Spread, n: int, unit: str, inside: bool = True) -> Part:
        """Return the piece of evidence that a spread is for this claim."""
        return Part(name, spread.estimate(n, unit), *judged(spread, self.sign, self.margin), inside)


@dataclass(frozen=True)
class Verdict:
    """A claim with its outcome: confirmed, refuted or cannot be tested, the p-value that decided, alone and corrected, and why."""

    claim: Claim
    outcome: Outcome
    verdict: str
    why: str
    command: str
    p: float | None = None
    p_holm: float | None = None
    figure: str | None = None

    @property
    def estimate(self) -> Estimate | None:
        """The effect that decides, None where there is none."""
        return self.outcome.whole.estimate if self.outcome.whole else None

    def to_record(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        fixed = {name: value for name, value in vars(self.claim).items() if name not in ("test", "limits")}
        effect = asdict(self.estimate) if self.estimate else dict.fromkeys(("value", "low", "high", "n", "clusters"))
        decided = {"verdict": self.verdict, "why": self.why, "p": self.p, "p_corrected": self.p_holm}
        return {
            **fixed,
            **decided,
            "effect": effect,
            "decided_by": self.outcome.whole.name if self.outcome.whole else None,
            "parts": [one.to_record() for one in self.outcome.parts],
            "limits": [*self.claim.limits, *self.outcome.limits],
            "figure": self.figure,
            "command": self.command,
        }


def judged(spread: Spread, sign: int, margin: float) -> tuple[float, float]:
    """Return the two-sided p-values of `the claim holds` (the effect has its sign) and `it fails` (any such effect is below `margin`).

    Of a claim without a sign: the effect is not zero; it is nearer to zero than `margin` (two one-sided tests).
    """
    if sign == 0:
        holds, fails = min(spread.above(0.0), spread.below(0.0)), max(spread.below(margin), spread.above(-margin))
    elif sign > 0:
        holds, fails = spread.above(0.0), spread.below(margin)
    else:
        holds, fails = spread.below(0.0), spread.above(-margin)
    return min(1.0, 2 * holds), min(1.0, 2 * fails)


def some(parts: Sequence[Part], name: str | None = None) -> Part:
    """Return the evidence for `at least one of these holds` (Bonferroni); it fails where all do. The clearest part lends its estimate."""
    clearest = min(parts, key=lambda one: _p(one.p_holds))
    holds, fails = min(1.0, len(parts) * _p(clearest.p_holds)), max(_p(one.p_fails) for one in parts)
    return replace(clearest, name=name or clearest.name, p_holds=holds, p_fails=fails)


def each(parts: Sequence[Part], name: str | None = None) -> Part:
    """Return the evidence for `every one of these holds`; it fails where one does (Bonferroni). The weakest part lends its estimate."""
    weakest = max(parts, key=lambda one: _p(one.p_holds))
    holds, fails = _p(weakest.p_holds), min(1.0, len(parts) * min(_p(one.p_fails) for one in parts))
    return replace(weakest, name=name or weakest.name, p_holds=holds, p_fails=fails)


def _p(value: float | None) -> float:
    return 1.0 if value is None else value
