"""Every claim of the study of 2024 with its verdict, corrected for the number of claims."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from securitynet.errors import unknown
from securitynet.report.claims import membership, others, stealing
from securitynet.report.claims.claim import CONFIRMED, REFUTED, UNTESTED, Claim, Outcome, Verdict
from securitynet.report.claims.data import Data
from securitynet.report.findings.hypotheses import LEVEL
from securitynet.report.findings.model_counts import Counts, counts_of
from securitynet.report.findings.released_tables import ORIGIN
from securitynet.report.findings.statistics import holm
from securitynet.report.measure_table import published_rows
from securitynet.results.row import Row

CLAIMS: tuple[Claim, ...] = (*stealing.CLAIMS, *membership.CLAIMS, *others.CLAIMS)
TITLE = "SecurityNet: Assessing Machine Learning Vulnerabilities on Public Models (Zhang et al., USENIX Security 2024)"
METHODS = (
    "A claim is confirmed where its effect clearly has the claimed sign, refuted where an effect of the smallest size that counts is "
    "clearly excluded; each claim states that size. Where neither is clear, it cannot be tested with these rows.",
    f"Clear: p below {LEVEL}, two-sided, corrected by Holm's method for all claims that can be tested. The claims, populations, "
    "statistics, covariates and smallest effects are constants of the program; none depends on the rows.",
    "Intervals are 95 %, of each number alone. Models of one paper and architecture are related, so whole clusters of models are left out, "
    "one at a time (jackknife), with Student's t at the effective number of clusters less one; clusters are model types where there are "
    "six, else training recipes, else models. Exceptions: shares (exact binomial), single models (their images), metadata (random "
    "intercept, REML).",
    "Nothing is pooled over datasets: a mean over groups is the mean of what was found within each.",
    "Not counted: models whose published numbers are known to be wrong (flags suspect_eval, constant_predictor, failed_attack).",
    "Claims of `readers` are those that two third parties report from the paper's text, which its public pages do not hold.",
)


@dataclass(frozen=True)
class Study:
    """The verdicts, and how many models they rest on."""

    counts: Counts
    source: str
    verdicts: tuple[Verdict, ...]

    def of(self, verdict: str) -> list[Verdict]:
        """Return the claims with a verdict (`confirmed`, `refuted`, `cannot be tested`)."""
        return [one for one in self.verdicts if one.verdict == verdict]

    def to_record(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        claims = [one.to_record() for one in self.verdicts]
        return {"study": TITLE, "source": self.source, **self.counts.to_record(), "methods": list(METHODS), "claims": claims}


def study(rows: Iterable[Row] | None = None, claims: Sequence[str] = (), files: Sequence[str] = ()) -> Study:
    """Return the verdicts on the claims of the study of 2024 from `rows`; without, from the measurements that it released.

    `claims` chooses some by id (all are tested all the same, so that the correction does not depend on the choice); `files` are where the
    rows come from, for the commands. Raises UsageError for an unknown id.
    """
    for id in claims:
        if id not in {one.id for one in CLAIMS}:
            raise unknown("claim", id, [one.id for one in CLAIMS])
    data = Data.of(published_rows(ORIGIN) if rows is None else list(rows))
    outcomes = [(one, one.test(data, one)) for one in CLAIMS]
    source = f"the rows that the study released (origin {ORIGIN})" if rows is None else "the given rows"
    verdicts = tuple(one for one in decided(outcomes, files) if not claims or one.claim.id in claims)
    return Study(counts_of(data.whole), source, verdicts)


def decided(outcomes: Sequence[tuple[Claim, Outcome]], files: Sequence[str] = ()) -> list[Verdict]:
    """Return the verdicts of outcomes, their p-values corrected for all of them together."""
    smallest = [_smallest(outcome) for _, outcome in outcomes]
    corrected = iter(holm([p for p in smallest if p is not None]))
    return [
        _verdict(claim, outcome, p, None if p is None else next(corrected), files)
        for (claim, outcome), p in zip(outcomes, smallest, strict=True)
    ]


def _alone(outcome: Outcome) -> str:
    """Say which parts are clear by themselves, corrected for the number of parts."""
    parts = [one for one in outcome.parts if one.inside and one.estimate]
    clear = [one.name for one in parts if one.p_holds is not None and one.p_holds * len(parts) < LEVEL]
    return f"; by itself it holds in {', '.join(clear)}" if clear and len(parts) > 1 else ""


def _smallest(outcome: Outcome) -> float | None:
    if outcome.whole is None or outcome.whole.p_holds is None or outcome.whole.p_fails is None:
        return None
    return min(outcome.whole.p_holds, outcome.whole.p_fails)


def _verdict(claim: Claim, outcome: Outcome, p: float | None, p_holm: float | None, files: Sequence[str]) -> Verdict:
    command = shlex.join(["securitynet", "paper", *files, "--claim", claim.id])
    whole = outcome.whole
    if whole is None or p is None or p_holm is None:
        return Verdict(claim, outcome, UNTESTED, outcome.reason or "no number", command)
    if p_holm >= LEVEL:
        why = f"the rows do not decide: neither the claim nor its contrary is clear{_alone(outcome)}"
        return Verdict(claim, outcome, UNTESTED, why, command, p, p_holm)
    holds = (whole.p_holds or 0.0) <= (whole.p_fails or 0.0)
    why = "the effect clearly has the claimed sign" if claim.sign else "the effect is clearly not zero"
    return Verdict(claim, outcome, CONFIRMED if holds else REFUTED, why if holds else claim.refuted_if, command, p, p_holm)
