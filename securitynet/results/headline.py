"""The headline of membership inference: one family of tests, fixed before anything is looked at.

Together the tests are wrong with probability 2.5 % at most. The AUCs of all attacks are one test (simultaneous.lower_limits).
The true-positive rate at each low false-positive rate is another: the attack is chosen on the half of the samples that the
attacker knows, and measured on the other half, where its exact lower end (operating.lower_end) counts. A rate that so many
non-members cannot show gives its share back; that depends on their number alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from securitynet.metrics.crossed import Masks
from securitynet.metrics.membership import auc
from securitynet.metrics.operating import lower_end, rank
from securitynet.metrics.placements import Scores
from securitynet.metrics.simultaneous import Area, area, crossed_area, halved, lower_limits, weighted_area
from securitynet.metrics.vocabulary import AUC, tpr_at_fpr
from securitynet.results.evidence import SIDES, Arrays, Key, by_attack
from securitynet.results.row import Row
from securitynet.results.separation import SHIFTED, Separation, separable, separated

MISS = 0.025  # the chance that any test of a model without a leak finds one
SHARES: Mapping[float | None, float] = {None: 0.5, 0.01: 0.25, 0.001: 0.25}  # of MISS: for the AUCs, and by false-positive rate
PRIORS = (0.01, 0.1)  # shares of members among the images that an attacker has
LITTLE, CLEARLY, STRONGLY = "little", "clearly", "strongly"
WORDS = (LITTLE, CLEARLY, STRONGLY)
AREAS, TIMES = (0.5, 0.55, 0.7), (1.0, 3.0, 10.0)  # lower ends above these deserve the words; rates as multiples of chance


@dataclass(frozen=True)
class Finding:
    """One test: the attack it is about, its number, the lower end that counts, and what that is without a leak.

    `miss` is the test's share of the chance of a false finding. `value` and `low` are None where the sizes give no such test
    (`miss` is 0 then), or no attack has a score for it; `reason` says so. `n` members and `m` non-members were measured.
    `high`, of the AUCs: the highest upper end of the 95 % intervals of all attacks.
    """

    metric: str
    fpr: float | None
    miss: float
    chance: float
    n: int
    m: int
    attack: str | None = None
    params: str | None = None
    value: float | None = None
    low: float | None = None
    reason: str | None = None
    high: float | None = None

    @property
    def found(self) -> bool:
        """Whether the lower end lies above what no leak gives."""
        return self.low is not None and self.low > self.chance

    @property
    def word(self) -> str | None:
        """How much leaks, by the lower end; None where nothing was found."""
        if not self.found or self.low is None:
            return None
        limits = AREAS if self.fpr is None else [times * self.chance for times in TIMES]
        return WORDS[sum(self.low >= limit for limit in limits[1:])]

    def precision(self, prior: float) -> float | None:
        """Return the share of members among the images that the attack names, where `prior` of all are members; None for an AUC."""
        if self.fpr is None or self.value is None:
            return None
        named = prior * self.value + (1 - prior) * self.fpr
        return prior * self.value / named

    def to_record(self) -> dict[str, Any]:
        """Return all numbers as one JSON object."""
        precision = None if self.fpr is None else {f"{prior:g}": self.precision(prior) for prior in PRIORS}
        return {**vars(self), "found": self.found, "word": self.word, "precision": precision}


@dataclass(frozen=True)
class Headline:
    """What the family of tests found about a model; `attacks` is how many took part in it.

    `separation` says whether that is memory or a shift of the data; None where nothing was found.
    """

    attacks: int
    area: Finding
    rates: tuple[Finding, ...]
    separation: Separation | None = None

    @property
    def leading(self) -> Finding | None:
        """The finding to tell first: at the lowest false-positive rate, else the AUC; None where nothing was found."""
        return next((one for one in (*reversed(self.rates), self.area) if one.found), None)

    @property
    def word(self) -> str | None:
        """The strongest word that any lower end deserves; None where nothing was found."""
        said = [one.word for one in (*self.rates, self.area) if one.word is not None]
        return max(said, key=WORDS.index, default=None)

    def to_record(self) -> dict[str, Any]:
        """Return all numbers as one JSON object."""
        rates = [one.to_record() for one in self.rates]
        separation = None if self.separation is None else self.separation.to_record()
        return {
            "miss": MISS,
            "attacks": self.attacks,
            "word": self.word,
            "area": self.area.to_record(),
            "rates": rates,
            "separation": separation,
        }


@dataclass(frozen=True, eq=False)
class Candidate:
    """The arrays of one attack of the family."""

    attack: str
    params: str
    arrays: Arrays

    def sides(self, known: bool) -> tuple[Scores, Scores]:
        """Return the scores of the half that the attacker knew, or of the other."""
        members, non_members = (self.arrays[side][self.arrays[f"known_{side}"] == known] for side in SIDES)
        return members, non_members

    @property
    def sizes(self) -> tuple[int, int]:
        return len(self.arrays["members"]), len(self.arrays["non_members"])

    @property
    def fitted(self) -> bool:
        return bool(self.arrays.get("held_out", False))

    @property
    def key(self) -> Key:
        return self.attack, self.params

    @property
    def weights(self) -> Scores | None:
        """What each non-member counts [m] so that every class has its share among the members; None without labels."""
        labels = [self.arrays[name] for side in SIDES if (name := f"{side[:-1]}_labels") in self.arrays]
        if len(labels) < len(SIDES):
            return None
        counts = [np.bincount(one, minlength=int(max(map(np.max, labels))) + 1).astype(np.float64) for one in labels]
        return np.asarray((counts[0] / np.maximum(counts[1], 1.0))[labels[1]])

    def area(self, weights: Scores | None = None) -> Area:
        if weights is not None:
            return self._reweighted(weights)
        first = self.arrays["members"], self.arrays["non_members"]
        if not self.fitted:
            return area(*first)
        second = self.arrays["swapped_members"], self.arrays["swapped_non_members"]
        return crossed_area(first, second, self._known)

    @property
    def _known(self) -> Masks:
        return self.arrays["known_members"], self.arrays["known_non_members"]

    def _reweighted(self, weights: Scores) -> Area:
        first = self.arrays["members"], self.arrays["non_members"]
        if not self.fitted:
            return weighted_area(*first, None, weights)
        second = self.arrays["swapped_members"], self.arrays["swapped_non_members"]
        others: Masks = (~self._known[0], ~self._known[1])
        return halved([weighted_area(*first, others, weights), weighted_area(*second, self._known, weights)])


def headline(rows: Iterable[Row], evidence: Iterable[Arrays]) -> Headline | None:
    """Return the headline of the attacks that have an AUC and scores; None where there are none.

    Attacks that are measured on one half only, as comparisons are, take no part, nor do those that query too much to be measured
    on all samples. Of attacks that were fitted, the AUC takes
    part; which attack to measure a rate with is chosen among the others, whose scores of the known half are as those of the other.
    """
    rows, evidence = list(rows), list(evidence)
    family = _family(rows, evidence)
    if not family:
        return None
    n, m = (int((~family[0].arrays[f"known_{side}"]).sum()) for side in SIDES)
    shares = shares_of(m)
    rates = tuple(_rate(family, fpr, shares[fpr], (n, m)) for fpr in SHARES if fpr is not None)
    found = Headline(len(family), _area(family, shares[None]), rates)
    return replace(found, separation=separated(rows, evidence, found, family)) if found.leading is not None else found


def doubtful(rows: Sequence[Row], evidence: Iterable[Arrays]) -> str | None:
    """Return why numbers about membership do not count: a shift of the data that what was found does not exceed; None else."""
    if (apart := separable(rows)) is not None:
        return apart
    found = headline(rows, evidence)
    if found is None or found.separation is None or found.separation.leak or not found.separation.shifts:
        return None
    return f"{SHIFTED}: {found.separation.cause}"


def shares_of(non_members: int) -> dict[float | None, float]:
    """Return the chance of a false finding that each test gets, None for the AUCs, where so many non-members measure the rates.

    A rate needs that the largest of them lies above the threshold, up to half of its share; what it cannot use, the others get.
    """
    supported = dict(SHARES)
    while True:
        shares = {fpr: MISS * share / sum(supported.values()) for fpr, share in supported.items()}
        weak = [fpr for fpr, miss in shares.items() if fpr is not None and non_members < math.log(miss / 2) / math.log1p(-fpr)]
        if not weak:
            return {fpr: shares.get(fpr, 0.0) for fpr in SHARES}
        del supported[min(weak)]


def _family(rows: Iterable[Row], evidence: Iterable[Arrays]) -> list[Candidate]:
    arrays = by_attack(evidence, *SIDES, *(f"known_{side}" for side in SIDES))
    keys = dict.fromkeys(
        (row.attack, row.params) for row in rows if row.family == "membership" and row.metric == AUC and row.value is not None
    )
    found = [Candidate(*key, arrays[key]) for key in keys if key in arrays]
    whole = [one for one in found if not one.fitted or "swapped_members" in one.arrays]
    most = max((one.sizes for one in whole), default=(0, 0))
    return [one for one in whole if one.sizes == most]


def _area(family: Sequence[Candidate], miss: float) -> Finding:
    areas = [one.area() for one in family]
    limits = lower_limits(areas, miss)
    best = int(np.argmax(limits))
    sizes = len(areas[best].members), len(areas[best].non_members)
    low, high = max(0.0, limits[best]), min(1.0, max(one.centre + 1.96 * one.error for one in areas))
    return Finding(AUC, None, miss, 0.5, *sizes, family[best].attack, family[best].params, areas[best].value, low, high=high)


def _rate(family: Sequence[Candidate], fpr: float, miss: float, sizes: tuple[int, int]) -> Finding:
    name, choice = tpr_at_fpr(fpr), [one for one in family if not one.fitted]
    if not miss:
        reason = f"{sizes[1]} non-members cannot show a false-positive rate of {fpr:g}"
        return Finding(name, fpr, miss, fpr, *sizes, reason=reason)
    if not choice:
        return Finding(name, fpr, miss, fpr, *sizes, reason="every attack was fitted on the known half: none can be chosen there")
    best = max(choice, key=lambda one: _promise(one.sides(known=True), fpr))
    members, non_members = best.sides(known=False)
    threshold = np.sort(non_members)[-rank(len(non_members), fpr)]
    low = lower_end(members, non_members, fpr, miss)
    return Finding(name, fpr, miss, fpr, *sizes, best.attack, best.params, float((members > threshold).mean()), low)


def _promise(known: tuple[Scores, Scores], fpr: float) -> tuple[float, float]:
    """Return the true-positive rate, then the AUC: what the choice goes by."""
    members, non_members = known
    threshold = np.sort(non_members)[-max(1, rank(len(non_members), fpr))]
    return float((members > threshold).mean()), auc(members, non_members).value or 0.0
