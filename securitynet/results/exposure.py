"""Exposure of each member by one attack, from its saved arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.exposure import alone, expected_alone, expected_below, most_alone, p_values, q_values
from securitynet.metrics.membership import alarm_rate
from securitynet.results.evidence import SIDES, Arrays

Scores = NDArray[np.float64]
LEVELS = (0.001, 0.01, 0.05, 0.1)


@dataclass(frozen=True)
class Level:
    """`found` members are such that at most a share `level` of the non-members scores as high; `by_luck`: so many without a leak."""

    level: float
    found: int
    by_luck: float


@dataclass(frozen=True, eq=False)
class Exposure:
    """Of n members: their `positions` in the split, `scores`, `fpr` (share of non-members that score as high), `p` and `q`.

    `calibrated`: a score says how far an image lies above what non-members as difficult give; else easy images score high, and
    `p` and `q` are None. `alone` members score above every non-member; without a leak `by_luck` would on average, and in 95 of 100
    cases at most `most_by_luck`. `levels` count members by their share of non-members that score as high.
    """

    positions: NDArray[np.int64]
    scores: Scores
    fpr: Scores
    p: Scores | None
    q: Scores | None
    calibrated: bool
    non_members: int
    alone: int
    by_luck: float
    most_by_luck: int
    levels: tuple[Level, ...]

    def most(self, top: int) -> NDArray[np.int64]:
        """Return the places of the `top` most exposed, those with the smallest p-value first, of equals the highest score."""
        first = self.fpr if self.p is None else self.p
        return np.lexsort((-self.scores, first))[:top]


def exposure(arrays: Arrays) -> Exposure:
    """Return the exposure of all members; of an attack that was fitted on half of them, each by the fit that did not see it."""
    parts = _parts(arrays)
    positions = np.concatenate([places for places, _, _ in parts])
    scores = np.concatenate([own for _, own, _ in parts])
    fpr = np.concatenate([alarm_rate(own, others) for _, own, others in parts])
    calibrated = bool(arrays.get("calibrated", False))
    p = np.concatenate([p_values(own, others) for _, own, others in parts]) if calibrated else None
    luck = sum(expected_alone(len(own), len(others)) for _, own, others in parts)
    above = sum(alone(own, others) for _, own, others in parts)
    q = None if p is None else q_values(p)
    sizes = [(len(own), len(others)) for _, own, others in parts]
    least = min(others for _, others in sizes)
    return Exposure(positions, scores, fpr, p, q, calibrated, least, above, luck, most_alone(sizes), _levels(parts, least))


def _levels(parts: Sequence[tuple[NDArray[np.int64], Scores, Scores]], non_members: int) -> tuple[Level, ...]:
    """Members at or below each level that so many non-members can show."""
    values = np.concatenate([p_values(own, others) for _, own, others in parts])
    shown = [level for level in LEVELS if level * (non_members + 1) >= 1]
    return tuple(
        Level(level, int((values <= level + 1e-12).sum()), sum(expected_below(len(own), len(others), level) for _, own, others in parts))
        for level in shown
    )


def _parts(arrays: Arrays) -> list[tuple[NDArray[np.int64], Scores, Scores]]:
    """Positions of members, their scores, and the non-members to hold them against: one part for each fit."""
    if not arrays.get("held_out", False):
        return [(np.arange(len(arrays["members"])), arrays["members"], arrays["non_members"])]
    fits = [(SIDES, False)]
    if "swapped_members" in arrays:
        fits.append((("swapped_members", "swapped_non_members"), True))
    found = []
    for names, known in fits:
        masks = [arrays[f"known_{side}"] == known for side in SIDES]
        found.append((np.flatnonzero(masks[0]), arrays[names[0]][masks[0]], arrays[names[1]][masks[1]]))
    return found
