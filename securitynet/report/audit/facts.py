"""What the rows say about each risk, as numbers that the table of severities reads; prose decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy import stats

from securitynet.entry import Entry
from securitynet.metrics.vocabulary import (
    AGREEMENT,
    AUC,
    AUC_BEYOND,
    CONTROL_AGREEMENT,
    EXCESS_AGREEMENT,
    OUT_MODEL_AUC,
    TEST_ACCURACY,
    TRAIN_ACCURACY,
    tpr_at_fpr,
)
from securitynet.results.curves import budget_of
from securitynet.results.headline import AREAS, MISS, Headline
from securitynet.results.row import Row
from securitynet.results.separation import CONTROL, OUT_MODEL, SHIFTED, shifts_of
from securitynet.results.verdict import BackdoorVerdict
from securitynet.results.verdict import verdict as backdoor_verdict

LOW_FPR, BUDGET = 0.001, 5000


@dataclass(frozen=True)
class Verified:
    """`cause`: why the model is not what its entry says; `accuracy` on `n` images of `split`; `claim`: the publisher's."""

    looked: bool
    cause: str | None = None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    split: str | None = None
    claim: float | None = None


@dataclass(frozen=True)
class Leak:
    """What membership inference found. `blocked`: why no severity may be claimed.

    `tpr_low`: the highest lower end of the true-positive rate at 0.1 % false positives. `low` is the lower end of the headline,
    corrected for the choice among `attacks`, `chance` what it is without a leak; `high` the upper end of the AUC.
    """

    looked: bool
    blocked: str | None = None
    attacks: int = 0
    tpr: float | None = None
    tpr_low: float | None = None
    tpr_attack: str | None = None
    metric: str | None = None
    attack: str | None = None
    value: float | None = None
    low: float | None = None
    chance: float = 0.5
    high: float | None = None
    caveat: str | None = None

    @property
    def found(self) -> bool:
        """Whether the headline's lower end lies above chance."""
        return self.low is not None and self.low > self.chance


@dataclass(frozen=True)
class Copied:
    """What a copy gains over the control with true labels: the attack with the highest lower end, `high` over all attacks."""

    looked: bool
    blocked: str | None = None
    attack: str | None = None
    budget: int | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    agreement: float | None = None

    @property
    def asked(self) -> bool:
        """Whether the number is of 5,000 queries."""
        return self.budget == BUDGET


def family_of(row: Row) -> str:
    """Return the family of a row; one of an older file names it in its attack only."""
    return row.family or row.attack.partition("/")[0]


def cause_of(rows: Sequence[Row]) -> str | None:
    """Return why the model failed verification, from the rows that verification wrote; None where it did not."""
    found = (row for row in rows if row.attack == "verify" and family_of(row) == "verify" and row.status == "suspect")
    return next((row.reason or "the model is not what its entry says" for row in found), None)


def verified(rows: Sequence[Row], entry: Entry) -> Verified:
    """Return what verification found."""
    accuracies = {row.metric: row for row in rows if row.attack == "verify" and row.value is not None}
    row = accuracies.get(TEST_ACCURACY) or accuracies.get(TRAIN_ACCURACY)
    cause = cause_of(rows)
    if row is None:
        return Verified(cause is not None, cause)
    split = "test" if row.metric == TEST_ACCURACY else "training"
    return Verified(True, cause, row.value, row.ci_low, row.ci_high, row.n, split, entry.claimed_accuracy)


def leak(rows: Sequence[Row], headline: Headline | None) -> Leak:
    """Return what membership inference found: the headline where scores are there, else a family of the rows' own intervals.

    Without scores the AUCs' lower ends are widened by Bonferroni's method for the number of attacks.
    """
    own = [row for row in rows if family_of(row) == "membership" and not row.attack.startswith(CONTROL)]
    numbers = [row for row in own if row.value is not None]
    if not numbers:
        return Leak(bool(own), _why_none(own) if own else None)
    rates = [row for row in numbers if row.metric == tpr_at_fpr(LOW_FPR) and row.ci_low is not None]
    best = max(rates, key=lambda row: row.ci_low or 0.0, default=None)
    rate = (None, None, None) if best is None else (best.value, best.ci_low, best.attack)
    found = _of_headline(headline, rate) if headline is not None else _of_rows(numbers, rate)
    return _gated(found, rows, own, headline)


def _why_none(rows: Sequence[Row]) -> str:
    return next((row.reason for row in rows if row.reason), "no attack gave a number")


def _of_headline(one: Headline, rate: tuple[float | None, float | None, str | None]) -> Leak:
    leading = one.leading or one.area
    return Leak(
        True, None, one.attacks, *rate, leading.metric, leading.attack, leading.value, leading.low, leading.chance, one.area.high
    )  # fmt: skip


def _of_rows(numbers: Sequence[Row], rate: tuple[float | None, float | None, str | None]) -> Leak:
    areas = [row for row in numbers if row.metric == AUC]
    whole = {row.attack for row in areas if row.scope != "half"}
    areas = [row for row in areas if row.scope != "half" or row.attack not in whole]
    ends = [(widened(row, len(areas)), row) for row in areas]
    bounded = [(low, row) for low, row in ends if low is not None]
    highs = [row.ci_high for row in areas]
    high = max((one for one in highs if one is not None), default=None) if None not in highs else None
    first = Leak(True, None, len(areas), *rate, high=high)
    if bounded:
        low, row = max(bounded, key=lambda one: one[0])
        return replace(first, metric=AUC, attack=row.attack, value=row.value, low=low)
    named = max(areas, key=lambda row: row.value or 0.0, default=None)
    return first if named is None else replace(first, metric=AUC, attack=named.attack, value=named.value)


def widened(row: Row, count: int) -> float | None:
    """Return the lower end of a row's 95 % interval widened for the best of `count` (Bonferroni, normal); None without an end."""
    if row.value is None or row.ci_low is None:
        return None
    factor = stats.norm.isf(MISS / max(count, 1)) / stats.norm.isf(MISS)
    return float(row.value - (row.value - row.ci_low) * factor)


def _gated(found: Leak, rows: Sequence[Row], own: Sequence[Row], headline: Headline | None) -> Leak:
    """The same, blocked where verification failed, where rows are suspect, or where what was found may be a shift of the data."""
    if (cause := cause_of(rows)) is not None:
        return replace(found, blocked=f"the model is not what its entry says ({cause})")
    if (doubt := next((row.reason for row in own if row.status == "suspect"), None)) is not None:
        return replace(found, blocked=doubt)
    if not found.found and (found.tpr_low is None or found.tpr_low < LOW_FPR):
        return found
    if headline is not None and headline.leading is not None:
        one = headline.separation
        return replace(found, blocked=None if one is None or one.leak else f"{SHIFTED}: {one.cause}")
    return _separated_by_rows(found, rows)


def _separated_by_rows(found: Leak, rows: Sequence[Row]) -> Leak:
    """Without scores: AUCs beyond the out-model where it was measured, else only a strong finding without any shift counts."""
    shifts = shifts_of(rows)
    beyond = [row for row in rows if row.metric == AUC_BEYOND and row.value is not None]
    if beyond:
        out = {(row.attack, row.params): row for row in rows if row.metric == OUT_MODEL_AUC}
        lows = [(widened(row, len(beyond)) or -1.0) - (_shown_by(out.get((row.attack, row.params))) if shifts else 0.0) for row in beyond]
        return found if max(lows) > 0 else replace(found, blocked=f"{SHIFTED}: a model that saw neither tells them apart as well")
    if shifts:
        return replace(found, blocked=f"{SHIFTED}: {'; '.join(one.cause for one in shifts)}")
    strong = (found.tpr_low or 0.0) >= 10 * LOW_FPR or (found.metric == AUC and (found.low or 0.0) >= AREAS[2])
    if not strong and any(row.attack == OUT_MODEL or row.attack.startswith(CONTROL) for row in rows):
        reason = next((row.reason for row in rows if row.attack == OUT_MODEL and row.reason), "there is no out-model")
        return replace(found, blocked=f"{SHIFTED}: {reason}")
    return replace(found, caveat=None if strong else "no control was run")


def _shown_by(row: Row | None) -> float:
    """How far from 0.5 the out-model's AUC may lie."""
    if row is None or row.ci_low is None or row.ci_high is None:
        return 0.5
    return max(abs(row.ci_low - 0.5), abs(row.ci_high - 0.5))


def copied(rows: Sequence[Row]) -> Copied:
    """Return what a copy has at 5,000 queries, or at the largest budget below, beyond the control with true labels."""
    own = [row for row in rows if family_of(row) == "stealing"]
    if not own:
        return Copied(False)
    if (cause := cause_of(rows)) is not None:
        return Copied(True, f"the model is not what its entry says ({cause})")
    curves: dict[tuple[str, str], dict[int, Row]] = {}
    for row in own:
        budget = budget_of(row) or row.queries
        if row.metric == EXCESS_AGREEMENT and row.value is not None and row.status == "ok" and budget and _labelled(row, own):
            curves.setdefault((row.attack, row.params), {})[budget] = row
    chosen = [found for curve in curves.values() if (found := _at(curve)) is not None]
    if not chosen:
        return Copied(True, _why_not(own, bool(curves)))
    budget = max(found[0] for found in chosen)
    same = [row for found, row in chosen if found == budget]
    lows = [(widened(row, len(same)), row) for row in same]
    bounded = [(low, row) for low, row in lows if low is not None]
    low, row = max(bounded, key=lambda one: one[0], default=(None, same[0]))
    highs = [one.ci_high for one in same]
    high = None if None in highs else max(one for one in highs if one is not None)
    return Copied(True, None, row.attack, budget, row.value, low, high, _beside(row, own, AGREEMENT))


def _labelled(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the control with true labels was trained beside it: where it could not be, its row has no number."""
    control = [one for one in rows if one.metric == CONTROL_AGREEMENT and _same(one, row)]
    return not control or control[0].value is not None


def _same(one: Row, other: Row) -> bool:
    return (one.attack, one.params, one.seed, one.budget) == (other.attack, other.params, other.seed, other.budget)


def _beside(row: Row, rows: Sequence[Row], metric: str) -> float | None:
    return next((one.value for one in rows if one.metric == metric and _same(one, row)), None)


def _at(curve: dict[int, Row]) -> tuple[int, Row] | None:
    below = [budget for budget in curve if budget <= BUDGET]
    return (max(below), curve[max(below)]) if below else None


def _why_not(rows: Sequence[Row], measured: bool) -> str:
    if measured:
        return f"nothing was measured at {BUDGET:,} queries or fewer"
    named = [row.reason for row in rows if row.metric == CONTROL_AGREEMENT and row.value is None and row.reason]
    return next(
        iter([*named, *(row.reason for row in rows if row.reason and row.value is None)]), "no control was trained beside the copies"
    )


def backdoor(rows: Sequence[Row], entry: Entry) -> BackdoorVerdict | None:
    """Return the verdict on a backdoor; None where no detector ran."""
    return backdoor_verdict(rows, entry, cause_of(rows))
