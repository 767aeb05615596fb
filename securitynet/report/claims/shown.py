"""Verdicts as text, the same on the terminal and on the page."""

from __future__ import annotations

from securitynet.report.claims.claim import Verdict
from securitynet.report.claims.estimates import Estimate


def effect(one: Verdict) -> str:
    """Return the effect with its interval and unit, `-` where there is none."""
    return f"{number(one.estimate)} {one.claim.unit}" if one.estimate else "-"


def number(estimate: Estimate) -> str:
    """Return a number and its 95 % interval: `-0.256 [-0.274, -0.239]`."""
    interval = f" [{estimate.low:.3f}, {estimate.high:.3f}]" if estimate.low is not None and estimate.high is not None else ""
    return f"{estimate.value:.3f}{interval}"


def sized(estimate: Estimate) -> str:
    """Return n and the clusters."""
    return f"n {estimate.n}, {estimate.clusters} {estimate.unit}"


def probability(p: float | None) -> str:
    """Return a probability that is never shown as zero."""
    return "-" if p is None else "<1e-16" if p < 1e-16 else f"{p:.2g}" if p >= 1e-3 else f"{p:.0e}"


def facts(one: Verdict) -> list[tuple[str, str]]:
    """Return what was fixed beforehand, what came out, and the limits, as pairs of a name and a text."""
    claim, found = one.claim, []
    if one.estimate and one.outcome.whole:
        p = f"p {probability(one.p)}, {probability(one.p_holm)} corrected"
        found = [("effect", f"{effect(one)}, {sized(one.estimate)} ({one.outcome.whole.name}; {p})")]
    smallest = [("smallest effect that counts", f"{claim.margin:g} {claim.unit}")] if claim.margin else []
    return [
        ("claim", claim.text), ("stated by", claim.stated_by), ("why", one.why), *found, ("population", claim.population),
        ("statistic", claim.statistic), ("covariates", claim.covariates), *smallest, ("refuted if", claim.refuted_if),
        *(("limit", limit) for limit in (*claim.limits, *one.outcome.limits)), ("command", one.command),
    ]  # fmt: skip
