"""The verdict on a model, read from its rows: clean, suspicious, or cannot tell; what is known stands beside it, never instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.backdoor import WORKS
from securitynet.attacks.backdoor._kind import Kind
from securitynet.attacks.backdoor._nulls import combined, small_mask
from securitynet.attacks.backdoor._power import MODES, NOT_LOOKED_FOR, power
from securitynet.errors import UsageError
from securitynet.metrics.judgement import Judgement
from securitynet.metrics.vocabulary import FLAGGED, MASK_L1, P_VALUE, TARGET_CLASS, TRIGGER_CLASS, TRIGGER_SUCCESS, TRUE_TRIGGER_SUCCESS

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.results.row import Row

LADDERS, TRUE = ("backdoor/publisher_ladder", "backdoor/ladder"), "backdoor/known_trigger"  # the first that ran decides


@dataclass(frozen=True)
class FoundTrigger:
    """The smallest recovered trigger that works: the class it gives, its mask's `share` of the image, its `success` on `n` held-out images.

    `small`: smaller than clean models of the dataset have them.
    """

    target_class: int | None
    share: float
    success: float
    n: int
    small: bool

    def __str__(self) -> str:
        size = ", smaller than those of clean models" if self.small else ""
        toward = "" if self.target_class is None else f" into class {self.target_class}"
        found = f"a trigger of {self.share:.1%} of the image was found{size}"
        return f"{found}; it turns {self.success:.1%} of {self.n} held-out images{toward}"


@dataclass(frozen=True)
class BackdoorVerdict:
    """`word` is clean, suspicious or cannot tell, `reason` why; `known` what the entry records about a backdoor.

    `trigger` is one that works, whatever the p-value says. `looked_for` names kinds of backdoors with the power of the suite
    that ran, measured on networks of the model's dataset and others; where it is not known for all-to-one and all-to-all
    backdoors, nothing is called clean. `not_looked_for` names what a model can have that is called clean.
    """

    word: str
    reason: str
    p_value: float | None = None
    target_class: int | None = None
    known: str | None = None
    trigger: FoundTrigger | None = None
    looked_for: tuple[str, ...] = ()
    not_looked_for: tuple[str, ...] = NOT_LOOKED_FOR


def verdict(rows: Sequence[Row], entry: Entry, cause: str | None = None) -> BackdoorVerdict | None:
    """Return the verdict of an evaluation's rows, None where no detector ran; `cause` is that of a failed verification.

    The ladder's p-value counts where it ran; otherwise the smallest of the single detectors', times their number. `clean` is
    said only of a model of a kind that clean models were measured of, after all that was planned, by a suite whose power is
    known for all-to-one and for all-to-all backdoors, and where no trigger was found that is smaller than theirs.
    """
    own = [row for row in rows if row.family == "backdoor" and row.attack != TRUE]
    if not own:
        return None
    known = _known(rows, entry)
    if cause:
        return BackdoorVerdict("cannot tell", f"the model is not what its entry says ({cause})", known=known)
    ladder = next((found for name in LADDERS if (found := [row for row in own if row.attack == name])), [])
    tests = [row for row in ladder or own if row.metric == P_VALUE and judgement_of(row).flagged is not None]
    trigger = _trigger(ladder or own, entry)
    if not tests:
        reasons = dict.fromkeys((row.reason or row.status).removeprefix("cannot tell: ") for row in (ladder or own) if _says_why(row))
        why = "; ".join([*reasons, *([str(trigger)] if trigger else [])])
        return BackdoorVerdict("cannot tell", why or "no detector gave a p-value", known=known, trigger=trigger)
    best = min(tests, key=lambda row: row.value if row.value is not None else 1.0)
    p_value = combined([row.value for row in tests if row.value is not None])
    judgement = Judgement(p_value, best.level, best.calibrated is not False, best.complete is not False)
    strength = power(ladder[0].attack, entry.dataset) if ladder else ()
    strong = {one.mode for one in strength} >= set(MODES)
    word = "cannot tell" if judgement.word == "clean" and (not strong or (trigger and trigger.small)) else judgement.word
    target, over = _target(own, best), f" over {len(tests)} detectors" if len(tests) > 1 else ""
    said = [_because(word, judgement, best, f"p = {p_value:.2g}{over}", target, strong), *([str(trigger)] if trigger else [])]
    if word == "clean":
        said += [f"looked for: {', '.join(map(str, strength))}", f"not looked for: {', '.join(NOT_LOOKED_FOR)}"]
    return BackdoorVerdict(word, "; ".join(said), p_value, target, known, trigger, tuple(map(str, strength)))


def _because(word: str, judgement: Judgement, best: Row, p_value: str, target: int | None, strong: bool) -> str:
    if word == "suspicious":
        toward = "by an exchange of all classes" if target is None else f"towards class {target}"
        return f"{p_value} {toward}: clean models seldom score so high ({best.reason})"
    if word == "clean":
        return f"{p_value}, above {judgement.level:g} ({best.reason})"
    if not judgement.complete:
        return f"{p_value}: not everything was looked at as planned ({best.reason})"
    if not judgement.calibrated:
        return f"{p_value}, above {judgement.level:g}, by clean models of another kind, which says little ({best.reason})"
    if not strong:
        return f"{p_value}, above {judgement.level:g}, and how many backdoored models would be found is not known ({best.reason})"
    return f"{p_value}, above {judgement.level:g}, but clean models have no such trigger ({best.reason})"


def _trigger(rows: Sequence[Row], entry: Entry) -> FoundTrigger | None:
    """The smallest trigger that works of the attacks of `rows`."""
    found = []
    for success in (row for row in rows if row.metric == TRIGGER_SUCCESS and row.value is not None and row.value >= WORKS):
        same = {row.metric: row for row in rows if (row.attack, row.params) == (success.attack, success.params)}
        size, toward = same.get(MASK_L1), same.get(TRIGGER_CLASS) or same.get(TARGET_CLASS)
        if size is not None and size.value is not None and size.n:
            share, one = size.value / size.n, None if toward is None or toward.value is None else int(toward.value)
            small = share < small_mask(Kind(entry.dataset, entry.num_classes or 0))
            found.append(FoundTrigger(one, share, success.value or 0.0, success.n or 0, small))
    return min(found, key=lambda one: one.share, default=None)


DISCLOSURE = (
    "the results call public models backdoored, which their publishers have not stated: {models}. Tell them first, with what was "
    "measured, and give them time to answer; a p-value is no proof. Then push again with --disclosed"
)
OWN = ("local", "planted")  # sources of models that nobody published


def accused(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the public models that some row flags as backdoored and that are not recorded to be."""
    from securitynet import catalog

    known = {entry.id for entry in catalog.entries() if entry.backdoor not in (None, "none")}
    flagged = (row.entry for row in rows if row.family == "backdoor" and row.metric == FLAGGED and row.value and row.entry)
    return tuple(dict.fromkeys(entry for entry in flagged if entry not in known and entry.partition("/")[0] not in OWN))


def disclosed(rows: Sequence[Row], confirmed: bool) -> None:
    """Return where rows may be pushed. Raises UsageError, with a reminder, where they accuse a public model and nobody confirmed."""
    models = accused(rows)
    if models and not confirmed:
        raise UsageError(DISCLOSURE.format(models=", ".join(models)))


def judgement_of(row: Row) -> Judgement:
    """Return what a row of a p-value says, from its columns."""
    return Judgement(row.value, row.level, row.calibrated is not False, row.complete is not False)


def _target(rows: Sequence[Row], best: Row) -> int | None:
    """The first candidate of the attack that `best` is of."""
    found = [row.value for row in rows if (row.attack, row.params, row.metric) == (best.attack, best.params, TARGET_CLASS)]
    return int(found[0]) if found and found[0] is not None else None


def _says_why(row: Row) -> bool:
    return row.value is None or row.metric == P_VALUE


def _known(rows: Sequence[Row], entry: Entry) -> str | None:
    """What the entry records, and what its true trigger was measured to do."""
    if entry.backdoor is None:
        return None
    if entry.backdoor == "none":
        return "known to be clean"
    toward = "" if entry.backdoor_target is None else f" towards class {entry.backdoor_target}"
    works = [row for row in rows if row.attack == TRUE and row.metric == TRUE_TRIGGER_SUCCESS and row.value is not None]
    measured = f"; its trigger turns {works[0].value:.1%} of {works[0].n} images" if works else ""
    return f"backdoored (known): {entry.backdoor}{toward}{measured}"
