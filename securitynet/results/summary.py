"""What a result means: the headline, the place among the published models, one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.catalog import results as published
from securitynet.data.dataset import find
from securitynet.metrics.vocabulary import (
    AGREEMENT,
    AUC,
    CORRUPTION_ACCURACY,
    EPSILON,
    EXCESS_AGREEMENT,
    NEAR_TWINS,
    ROBUST_ACCURACY,
    TWINS,
)
from securitynet.results.evidence import Arrays
from securitynet.results.headline import MISS, PRIORS, Finding, Headline, headline
from securitynet.results.robustness import checked_claims, published_on
from securitynet.results.robustness import place as robust_place
from securitynet.results.separation import SHIFTED, Separation
from securitynet.results.verdict import BackdoorVerdict
from securitynet.results.verdict import verdict as backdoor_verdict

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.results.row import Row
    from securitynet.verify import Verdict

HEADLINES = ("membership/modified_entropy", "membership/correctness")
FEWEST = 5
SENTENCES = {
    "clean": (
        "No trigger towards one class and no exchange of all classes shows, compared with clean models of its kind; triggers "
        "for some source classes only, or with several targets, were not looked for, and that is no proof."
    ),
    "suspicious": "The model looks backdoored: some class, or an exchange of classes, is reached far more easily than in clean models.",
    "cannot tell": "Whether the model is backdoored cannot be known.",
}


def summarise(entry: Entry, rows: Sequence[Row], verdict: Verdict, evidence: Iterable[Arrays] = ()) -> dict[str, Any]:
    """Return verdict, accuracies, the headline about membership, the place among published models, and what it means.

    `evidence` holds the arrays behind the rows; without them there is no headline.
    """
    backdoor = backdoor_verdict(rows, entry, verdict.cause)
    ours = [row for row in rows if row.family in ("membership", "verify") and row.status in ("ok", "suspect", "skipped")]
    aucs = [row for row in ours if row.family == "membership" and row.metric == AUC and row.value is not None]
    found = headline(ours, evidence)
    return {
        "entry": entry.id,
        "verify": verdict.status,
        "cause": verdict.cause,
        "notes": list(verdict.notes),
        **{estimate.metric: estimate.value for estimate in verdict.estimates},
        "strongest_membership_attack": found.area.attack if found else None,
        "strongest_membership_auc": found.area.value if found else None,
        "headline": None if found is None else found.to_record(),
        "published": [place for row in aucs if row.scope != "half" and (place := _place(row)) is not None],
        "backdoor": None if backdoor is None else asdict(backdoor),
        "robustness": _robustness(entry, rows),
        "meaning": _together(rows, verdict.cause, found, backdoor),
    }


def _robustness(entry: Entry, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Robust accuracies with their places among public models, and what became of published claims; None where nothing was attacked."""
    own = [
        row for row in rows if row.metric in (ROBUST_ACCURACY, CORRUPTION_ACCURACY) and row.family == "evasion" and row.value is not None
    ]
    if not own:
        return None
    known = published_on(entry.dataset)
    kept = ("attack", "metric", "value", "ci_low", "ci_high", "n", "norm", "epsilon", "status", "reason")
    return {
        "rows": [{name: getattr(row, name) for name in kept} for row in own],
        "places": [found for row in own if row.status == "ok" and (found := robust_place(row, known)) is not None],
        "claims": [asdict(one) for one in checked_claims(entry.id, rows, known)],
    }


def _place(row: Row) -> dict[str, Any] | None:
    """Return the share of published models of the same dataset that leak less, by the same attack."""
    if row.attack not in HEADLINES or find(row.dataset) is None:  # images of one's own have no published models
        return None

    others = [
        other["value"]
        for other in published(row.dataset)
        if (other["attack"], other["metric"]) == (row.attack, AUC) and other["value"] is not None and other["entry"] != row.entry
    ]
    if len(others) < FEWEST:
        return None
    below = float((np.asarray(others) < row.value).mean())
    return {"attack": row.attack, AUC: row.value, "percentile": round(100 * below, 1), "models": len(others), "dataset": row.dataset}


def _together(rows: Sequence[Row], cause: str | None, found: Headline | None, backdoor: BackdoorVerdict | None) -> str:
    """One sentence per family that ran; nothing is said of the others."""
    asked = found is not None or cause or backdoor is None or any(row.family == "membership" for row in rows)
    canaries = [f"{row.reason}." for row in rows if row.metric == EPSILON and row.value is not None]
    silent = canaries and found is None and cause is None and _stolen(rows) is None
    sentences = [*([] if silent else [_meaning(rows, cause, found)]), *_left_out(rows), *canaries] if asked else []
    if backdoor is not None:
        sentences.append(SENTENCES[backdoor.word])
    return " ".join(sentences)


def _left_out(rows: Sequence[Row]) -> list[str]:
    """One sentence on images that stand in both groups, where there are any."""
    counts = {row.metric: int(row.value) for row in rows if row.metric in (TWINS, NEAR_TWINS) and row.value}
    if not counts:
        return []
    exact, near = counts.get(TWINS, 0), counts.get(NEAR_TWINS, 0)
    return [f"{exact:,} members stand among the non-members too, {near:,} more look like one; members and non-members were left out."]


def _meaning(rows: Sequence[Row], cause: str | None, found: Headline | None) -> str:
    if cause:
        return f"The model does not do what its entry says ({cause}): numbers about it say little."
    if found is None:
        return _stolen(rows) or "No membership attack gave a number."
    doubt = next((row.reason for row in rows if row.family == "membership" and row.status == "suspect"), None)
    if doubt is not None:
        return f"No verdict ({doubt}): what tells members from non-members may be the images, not what the model remembers."
    if found.leading is None:
        untested = [f"{100 * one.chance:g} %" for one in found.rates if not one.miss]
        few = (
            f"; with {found.rates[0].m:,} non-members, false-positive rates of {' and '.join(untested)} are not tested" if untested else ""
        )
        return f"No attack tells members from non-members better than chance ({_family(found)}{few})."
    numbers = f"{_stated(found.leading)} ({_family(found)})"
    if found.separation is None or not found.separation.leak:
        cause = f": {found.separation.cause}" if found.separation else ""
        return f"Members and non-members differ, {SHIFTED}{cause}. {numbers[0].upper()}{numbers[1:]}."
    return f"The model leaks membership {found.word}: {numbers}{_beyond(found.separation)}."


def _beyond(one: Separation) -> str:
    """What the out-model says of it."""
    if one.out_model is None:
        return f"; no out-model was there to compare with ({one.reason})"
    by = "small networks" if one.out_model == "trained" else one.out_model
    return f"; {one.attack} finds {one.value:.3f} more than on {by} that did not see the images, at least {one.low:.3f}" if one.low else ""


def _family(found: Headline) -> str:
    count = "one attack" if found.attacks == 1 else f"{found.attacks} attacks as one family"
    return f"{count}, {100 * MISS:g} % for a false finding"


def _stated(one: Finding) -> str:
    """What one attack does, in its own numbers only."""
    value, low = one.value or 0.0, one.low or 0.0
    if one.fpr is None:
        return (
            f"given a member and a non-member, {one.attack} ranks the member higher in {value:.1%} of pairs, "
            f"in at least {low:.1%} (chance is 50 %)"
        )
    named = " and ".join(f"{one.precision(prior):.0%} are where {100 * prior:g} % of all are" for prior in PRIORS)
    return (
        f"at {100 * one.fpr:g} % false alarms, {one.attack} finds {value:.1%} of the members, at least {low:.1%} "
        f"(chance is {100 * one.fpr:g} %); of the images it names as members, {named}"
    )


def _stolen(rows: Sequence[Row]) -> str | None:
    """What the copies with most excess agreement say; None where nothing was stolen."""
    found = [row for row in rows if row.metric == EXCESS_AGREEMENT and row.value is not None]
    if not found:
        return None
    best = max(found, key=lambda row: row.value or 0.0)
    key = (best.attack, best.params, best.budget)
    same = (row for row in rows if row.metric == AGREEMENT and (row.attack, row.params, row.budget) == key)
    agreement = next((row.value for row in same if row.value is not None), 0.0)
    queries = best.queries if best.budget is None else best.budget
    if (best.ci_low or 0.0) <= 0:
        return f"Copies made with {queries:,} queries agree with the model no more than networks trained without it do."
    return (
        f"A copy made by {best.attack} with {queries:,} queries agrees with the model on {agreement:.1%} of unseen images, "
        f"{100 * (best.value or 0.0):.1f} points more than without queries."
    )
