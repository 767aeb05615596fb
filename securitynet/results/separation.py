"""Is it memory? What a headline says after the controls: a leak, a shift of the data, or not separated from one.

A shift is seen by a blind control (images, labels or class shares differ without the model) or by the out-model (members and
non-members differ to a model that saw neither). What a leak must exceed depends on it; see separated().
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.metrics.crossed import Masks
from securitynet.metrics.operating import lower_end, rank, surely_laxer, upper_limit
from securitynet.metrics.placements import Scores
from securitynet.metrics.simultaneous import Area, beyond, halved, lower_limits, weighted_area
from securitynet.metrics.vocabulary import ACCURACY, AUC, SHIFT_P_VALUE, TEST_ACCURACY
from securitynet.results.evidence import Arrays, Key, by_attack
from securitynet.results.row import Row

if TYPE_CHECKING:
    from securitynet.results.headline import Candidate, Finding, Headline

CONTROL = "control/"
CLASS_SHARES, OUT_MODEL = "control/class shares", "control/out-model"
LEVEL = 0.05  # of all controls together: how often one sees a shift where there is none
SEPARABLE = 0.53  # an AUC of a blind control above which, with all of its interval, no number about membership counts
SHIFTED = "not separated from a shift of the data"
BELOW = 0.47  # an AUC of a blind control all below it: images stand in both groups
CLOSE = 0.05  # an out-model whose accuracy lies at most so far below the model's sees what the model sees
OUT = ("out_members", "out_non_members", "unseen_members", "unseen_non_members")


@dataclass(frozen=True)
class Shift:
    """A control that sees members and non-members differ, and its p-value."""

    control: str
    p: float

    @property
    def cause(self) -> str:
        """What differs, for people."""
        name = self.control.removeprefix(CONTROL)
        return {"out-model": "a model that saw neither tells them apart", "labels": "the labels of one group fit the images less well"}.get(
            name, f"{name} differ" if name.endswith("s") else f"the {name} of the images differs"
        )


@dataclass(frozen=True)
class Separation:
    """Whether the leading finding is memory.

    `shifts`: what controls saw. `out_model`: `trained`, or the id of a public one; None where there was none, with `reason`.
    `value` and `low` are the leading number beyond the out-model's; `limit` is what `low` has to exceed.
    """

    leak: bool
    shifts: tuple[Shift, ...]
    out_model: str | None = None
    attack: str | None = None
    value: float | None = None
    low: float | None = None
    limit: float | None = None
    reason: str | None = None

    @property
    def cause(self) -> str:
        """Why there is no verdict, for people."""
        causes = [one.cause for one in self.shifts]
        return "; ".join(causes or [self.reason or "no control was run"])

    def to_record(self) -> dict[str, Any]:
        """Return all as one JSON object."""
        return {**asdict(self), "cause": None if self.leak else self.cause}


def shifts_of(rows: Iterable[Row]) -> tuple[Shift, ...]:
    """Return what the controls saw: p-values at or below 5 % of all of them together (Bonferroni)."""
    ps = {row.attack: row.value for row in rows if row.metric == SHIFT_P_VALUE and row.value is not None}
    return tuple(Shift(name, p) for name, p in ps.items() if p * len(ps) <= LEVEL)


def separable(rows: Iterable[Row]) -> str | None:
    """Return why a blind control alone rules out every number about membership: its AUC lies far from 0.5; None where none does."""
    areas = [row for row in rows if row.attack.startswith(CONTROL) and row.metric == AUC and row.value is not None]
    if not areas:
        return None
    most, least = max(areas, key=lambda row: row.ci_low or 0.0), min(areas, key=lambda row: row.ci_high or 1.0)
    if (most.ci_low or 0.0) > SEPARABLE:
        return f"split separable without the model: {Shift(most.attack, 0.0).cause}"
    if (least.ci_high or 1.0) < BELOW:
        return "a control without the model finds members less well than chance: images stand in both groups"
    return None


def separated(rows: Sequence[Row], evidence: Iterable[Arrays], found: Headline, family: Sequence[Candidate]) -> Separation:
    """Return whether what `found` leads with is memory.

    With an out-model: the lower end of the AUCs beyond the out-model's, of all attacks together, must exceed zero; for a rate, the
    lower end must exceed the out-model's upper end. Where a shift is seen, the out-model must be about as accurate as the model, and
    the limit is as much again as the out-model may show of the shift. Where only the class shares differ, AUCs are those with equal
    shares, and rates say nothing. Without an out-model, only a strong finding without any shift is called a leak.
    """
    shifts, outs = shifts_of(rows), by_attack(evidence, *OUT)
    names = [
        str(json.loads(row.params)["out_model"])
        for row in rows
        if row.attack == OUT_MODEL and row.metric == ACCURACY and row.value is not None
    ]
    even = any(one.control == CLASS_SHARES for one in shifts)
    own = [one for one in family if one.key in outs and not (even and one.weights is None)]
    if not names or not own:
        missing = next((row.reason for row in rows if row.attack == OUT_MODEL and row.reason), "there is no out-model")
        return Separation(found.word == "strongly" and not shifts, shifts, reason=missing)
    view = _View(own, outs, even)
    others = [one for one in shifts if one.control != CLASS_SHARES]
    if others and not _comparable(rows):
        return Separation(False, shifts, names[0], reason="the out-model is less accurate than the model")
    able = {one.key for one in own}
    rates = [] if shifts else [view.rate(one) for one in reversed(found.rates) if one.found and (one.attack, one.params) in able]
    areas = view.areas(found.area.miss, bool(others))
    one = next((one for one in [*rates, areas] if one.low > one.limit), areas)
    leak = one.low > one.limit
    reason = None if leak else "no attack that was run on the out-model, too, clearly finds more than there"
    return Separation(leak, shifts, names[0], one.attack, one.value, one.low, one.limit, reason)


@dataclass(frozen=True)
class _Beyond:
    attack: str
    value: float
    low: float
    limit: float


@dataclass(frozen=True, eq=False)
class _View:
    """The attacks that were run on the out-model too; `even`: AUCs are those with equal shares of the classes."""

    family: Sequence[Candidate]
    outs: Mapping[Key, Arrays]
    even: bool

    def areas(self, miss: float, shifted: bool) -> _Beyond:
        """The attack with the highest lower end beyond the out-model."""
        pairs = [self._pair(one) for one in self.family]
        differences = [beyond(*pair) for pair in pairs]
        limits = lower_limits(differences, miss)
        best = int(np.argmax([low - self._limit(pair[1], shifted) for low, pair in zip(limits, pairs, strict=True)]))
        attack, difference = self.family[best].attack, differences[best]
        return _Beyond(attack, difference.value, limits[best], self._limit(pairs[best][1], shifted))

    def _limit(self, out: Area, shifted: bool) -> float:
        return abs(out.value - 0.5) + 1.96 * out.error if shifted else 0.0

    def _pair(self, one: Candidate) -> tuple[Area, Area]:
        weights = one.weights if self.even else None
        return one.area(weights), out_area(self.outs[one.key], weights)

    def rate(self, found: Finding) -> _Beyond:
        """The rate's lower end against the out-model's upper end, each with half of the test's share of the error."""
        one = next(one for one in self.family if one.key == (found.attack, found.params))
        assert found.fpr is not None and found.value is not None
        arrays = self.outs[one.key]
        members, non_members = one.sides(known=False)
        low = lower_end(members, non_members, found.fpr, found.miss / 2)
        highs = [_upper(*_unseen(arrays, number), found.fpr, found.miss / 2) for number in range(len(arrays["out_members"]))]
        return _Beyond(one.attack, found.value, low, max(highs))


def out_area(arrays: Arrays, weights: Scores | None = None) -> Area:
    """Return the AUC of an attack on the out-model: of each model over what it did not see, averaged."""
    found = []
    for number in range(len(arrays["out_members"])):
        masks: Masks = arrays["unseen_members"][number], arrays["unseen_non_members"][number]
        sides = arrays["out_members"][number], arrays["out_non_members"][number]
        found.append(weighted_area(*sides, masks, weights))
    return halved(found)


def _unseen(arrays: Arrays, number: int) -> tuple[Scores, Scores]:
    members = arrays["out_members"][number][arrays["unseen_members"][number]]
    return members, arrays["out_non_members"][number][arrays["unseen_non_members"][number]]


def _upper(members: Scores, non_members: Scores, fpr: float, miss: float) -> float:
    lax = surely_laxer(len(non_members), fpr, miss / 2)
    if lax > len(non_members):
        return 1.0
    threshold = np.sort(non_members)[-max(lax, rank(len(non_members), fpr))]
    return upper_limit(int((members > threshold).sum()), len(members), miss / 2)


def _comparable(rows: Iterable[Row]) -> bool:
    """Say whether the out-model is about as accurate on the non-members as the model on its test images."""
    values = {(row.attack == OUT_MODEL, row.metric): row.value for row in rows if row.value is not None}
    mine, its = values.get((False, TEST_ACCURACY)), values.get((True, ACCURACY))
    return mine is not None and its is not None and its >= mine - CLOSE
