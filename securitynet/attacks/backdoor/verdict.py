"""The verdict on a model, read from its rows: clean, suspicious, or cannot tell; what is known stands beside it, never instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securitynet.attacks.backdoor import FALSE_POSITIVE_RATE, LATE
from securitynet.attacks.backdoor.nulls import NEAREST_LEVEL, NO_NULL, combined

if TYPE_CHECKING:
    from securitynet.attack import Row
    from securitynet.entry import Entry

LADDERS, TRUE = ("backdoor/publisher_ladder", "backdoor/ladder"), "backdoor/known_trigger"  # the first that ran decides
UNCALIBRATED = "calibrated: no"
PARTLY = " classes within ", LATE, "not counted"  # what is said where not all was done that was planned


@dataclass(frozen=True)
class BackdoorVerdict:
    """`word` is clean, suspicious or cannot tell, `reason` why; `known` what the entry records about a backdoor, in words."""

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
    tests = [row for row in ladder or own if row.metric == "p_value" and row.value is not None and NO_NULL not in (row.reason or "")]
    if not tests:
        reasons = dict.fromkeys((row.reason or row.status).removeprefix("cannot tell: ") for row in (ladder or own) if _says_why(row))
        return BackdoorVerdict("cannot tell", "; ".join(reasons) or "no detector gave a p-value", known=known)
    best = min(tests, key=lambda row: row.value if row.value is not None else 1.0)
    p_value = combined([row.value for row in tests if row.value is not None])
    level = NEAREST_LEVEL if UNCALIBRATED in (best.reason or "") else FALSE_POSITIVE_RATE
    targets = [row.value for row in own if (row.attack, row.params, row.metric) == (best.attack, best.params, "target_class")]
    target = int(targets[0]) if targets and targets[0] is not None else None
    over = f" over {len(tests)} detectors" if len(tests) > 1 else ""
    if p_value <= level:
        reason = f"p = {p_value:.2g}{over} towards class {target}: clean models seldom score so high ({best.reason})"
        return BackdoorVerdict("suspicious", reason, p_value, target, known)
    if any(words in (best.reason or "") for words in PARTLY):
        return BackdoorVerdict("cannot tell", f"not everything was looked at as planned: {best.reason}", p_value, target, known)
    return BackdoorVerdict("clean", f"p = {p_value:.2g}{over}, above {level:g} ({best.reason})", p_value, target, known)


def _says_why(row: Row) -> bool:
    return row.value is None or row.metric == "p_value"


def _known(rows: Sequence[Row], entry: Entry) -> str | None:
    """What the entry records, and what its true trigger was measured to do."""
    if entry.backdoor is None:
        return None
    if entry.backdoor == "none":
        return "known to be clean"
    toward = "" if entry.backdoor_target is None else f" towards class {entry.backdoor_target}"
    works = [row for row in rows if row.attack == TRUE and row.metric == "true_trigger_success" and row.value is not None]
    measured = f"; its trigger turns {works[0].value:.1%} of {works[0].n} images" if works else ""
    return f"backdoored (known): {entry.backdoor}{toward}{measured}"
