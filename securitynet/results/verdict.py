"""The verdict on a model, read from its rows: clean, suspicious, or cannot tell; what is known stands beside it, never instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.backdoor._nulls import combined
from securitynet.metrics.judgement import Judgement
from securitynet.metrics.vocabulary import P_VALUE, TARGET_CLASS, TRUE_TRIGGER_SUCCESS

if TYPE_CHECKING:
    from securitynet.entry import Entry
    from securitynet.results.row import Row

LADDERS, TRUE = ("backdoor/publisher_ladder", "backdoor/ladder"), "backdoor/known_trigger"  # the first that ran decides


@dataclass(frozen=True)
class BackdoorVerdict:
    """`word` is clean, suspicious or cannot tell, `reason` why; `known` what the entry records about a backdoor."""

    word: str
    reason: str
    p_value: float | None = None
    target_class: int | None = None
    known: str | None = None


def verdict(rows: Sequence[Row], entry: Entry, cause: str | None = None) -> BackdoorVerdict | None:
    """Return the verdict of an evaluation's rows, None where no detector ran; `cause` is that of a failed verification.

    The ladder's p-value counts where it ran; otherwise the smallest of the single detectors', times their number.
    """
    own = [row for row in rows if row.family == "backdoor" and row.attack != TRUE]
    if not own:
        return None
    known = _known(rows, entry)
    if cause:
        return BackdoorVerdict("cannot tell", f"the model is not what its entry says ({cause})", known=known)
    ladder = next((found for name in LADDERS if (found := [row for row in own if row.attack == name])), [])
    tests = [row for row in ladder or own if row.metric == P_VALUE and judgement_of(row).flagged is not None]
    if not tests:
        reasons = dict.fromkeys((row.reason or row.status).removeprefix("cannot tell: ") for row in (ladder or own) if _says_why(row))
        return BackdoorVerdict("cannot tell", "; ".join(reasons) or "no detector gave a p-value", known=known)
    best = min(tests, key=lambda row: row.value if row.value is not None else 1.0)
    p_value = combined([row.value for row in tests if row.value is not None])
    judgement = Judgement(p_value, best.level, best.calibrated is not False, best.complete is not False)
    target = _target(own, best)
    over = f" over {len(tests)} detectors" if len(tests) > 1 else ""
    reasons_by_word = {
        "suspicious": f"p = {p_value:.2g}{over} towards class {target}: clean models seldom score so high ({best.reason})",
        "cannot tell": f"not everything was looked at as planned: {best.reason}",
        "clean": f"p = {p_value:.2g}{over}, above {best.level:g} ({best.reason})",
    }
    return BackdoorVerdict(judgement.word, reasons_by_word[judgement.word], p_value, target, known)


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
