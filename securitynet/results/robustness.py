"""What rows of evasion say beyond their numbers: masked gradients, the publisher's claim, the place among public models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from securitynet.catalog import results
from securitynet.data.dataset import find
from securitynet.metrics.vocabulary import CORRUPTION_ACCURACY, MASKING_SIGNS, OUTCOME, ROBUST_ACCURACY, VOCABULARY
from securitynet.results.row import Row, suspect
from securitynet.threat import CORRUPTIONS, Threat

CONFIRMED, REFUTED, EXCEEDED, UNCHECKED = "confirmed", "refuted", "exceeded", "not checked"
TOLERANCE, CONFIDENCE = 0.005, 0.999  # those of verify
FAMILY = "evasion"
STRONGEST = ("evasion/autoattack",)  # attacks that the publishers' numbers are of
FEWEST = 5  # models of a threat model below which there is no place among them


def doubted(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with every outcome of evasion marked `suspect` where gradients seem masked, with the cause."""
    said = [row.reason or "" for row in rows if row.metric == MASKING_SIGNS and row.value]
    if not said:
        return list(rows)
    cause = f"gradients seem masked: {'; '.join(dict.fromkeys(said))}"
    outcomes = {name for name, metric in VOCABULARY.items() if metric.family == FAMILY and metric.role == OUTCOME}
    return [suspect(row, cause) if row.norm is not None and row.metric in outcomes else row for row in rows]


@dataclass(frozen=True)
class Checked:
    """A published claim on robustness beside what was measured. `word` is CONFIRMED, REFUTED, EXCEEDED or UNCHECKED.

    `threat` names the threat model, `origin` who published the claim; `measured` and `n` are None where it was not checked.
    """

    threat: str
    claimed: float
    origin: str | None
    word: str
    measured: float | None = None
    n: int | None = None

    def __str__(self) -> str:
        claim = f"the claim of {self.claimed:.2%} robust accuracy ({self.threat}; {self.origin})"
        if self.measured is None:
            return f"{claim} was not checked"
        said = {CONFIRMED: "agrees with", REFUTED: "is below", EXCEEDED: "is above"}[self.word]
        why = "; the attack was weaker, or the images are easier" if self.word == EXCEEDED else ""
        return f"{self.measured:.2%} on {self.n} images {said} {claim}{why}"


def published_on(dataset: str | None) -> list[dict[str, Any]]:
    """Return the catalog's published measurements on a dataset; none on images that it does not know."""
    return results(dataset) if find(dataset) else []


def claims_of(entry: str, published: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows that state how robust a model is, as its publisher or a benchmark has it."""
    metrics = (ROBUST_ACCURACY, CORRUPTION_ACCURACY)
    return [row for row in published if row["entry"] == entry and row["metric"] in metrics and row["value"] is not None]


def checked_claims(entry: str, rows: Sequence[Row], published: Iterable[Mapping[str, Any]]) -> list[Checked]:
    """Return what an evaluation's rows say of the published claims on a model's robustness.

    A claim is compared with AutoAttack in the same norm at the same epsilon, or with the same corruptions, by an exact binomial
    bound, one-sided at 99.9 %, or 0.5 points where that is more. Attacked images refute a claim by themselves, so a measurement
    in doubt (masked gradients) may refute, but does not confirm.
    """
    return [_checked(claim, rows) for claim in claims_of(entry, published)]


def _checked(claim: Mapping[str, Any], rows: Sequence[Row]) -> Checked:
    claimed, threat = claim["value"], _named(claim)
    row = next((one for one in rows if one.value is not None and one.n and _is_of(one, claim)), None)
    if row is None or row.value is None or not row.n:
        return Checked(threat, claimed, claim["origin"], UNCHECKED)
    low, high = (float(stats.binom.ppf(level, row.n, claimed)) / row.n for level in (1 - CONFIDENCE, CONFIDENCE))
    word = REFUTED if row.value < min(claimed - TOLERANCE, low) else EXCEEDED if row.value > max(claimed + TOLERANCE, high) else CONFIRMED
    if row.status == "suspect" and word != REFUTED:
        return Checked(threat, claimed, claim["origin"], UNCHECKED)
    return Checked(threat, claimed, claim["origin"], word, row.value, row.n)


def place(row: Row, published: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the share of public models of the same dataset, norm and epsilon that are less robust; None where they are too few."""
    if row.value is None or row.norm is None or row.epsilon is None:
        return None
    threat = Threat(row.norm, row.epsilon)
    others = [
        one["value"]
        for one in published
        if one["metric"] == ROBUST_ACCURACY and one["value"] is not None and one["entry"] != row.entry and one["dataset"] == row.dataset
        and threat.is_that_of(one["norm"], one["epsilon"])
    ]  # fmt: skip
    if len(others) < FEWEST:
        return None
    share = sum(other < row.value for other in others) / len(others)
    return {
        "attack": row.attack, "threat_model": str(threat), ROBUST_ACCURACY: row.value, "percentile": round(100 * share, 1),
        "models": len(others), "dataset": row.dataset,
    }  # fmt: skip


def _is_of(row: Row, claim: Mapping[str, Any]) -> bool:
    if row.metric != claim["metric"] or row.family != FAMILY:
        return False
    if row.metric == CORRUPTION_ACCURACY:
        return bool(row.complete)  # all of the published files
    same = row.norm is not None and row.epsilon is not None and Threat(row.norm, row.epsilon).is_that_of(claim["norm"], claim["epsilon"])
    return same and row.attack in STRONGEST


def _named(claim: Mapping[str, Any]) -> str:
    return CORRUPTIONS if claim["metric"] == CORRUPTION_ACCURACY else str(Threat(claim["norm"], claim["epsilon"]))
