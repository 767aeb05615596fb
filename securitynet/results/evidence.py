"""The arrays behind the rows, from memory or from a saved result: one reader for both."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securitynet.errors import Skipped, UsageError, unknown
from securitynet.metrics.vocabulary import AUC
from securitynet.results.labels import labels_of, short
from securitynet.results.row import Row

Arrays = Mapping[str, np.ndarray]
Key = tuple[str, str]  # attack, params
Scores = NDArray[np.float64]
Integers = NDArray[np.int64]
SIDES = ("members", "non_members")
NOTHING: Integers = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Scored:
    """One attack's scores of the samples that it is measured on: where it was fitted on some, only of the others.

    `positions` and `non_positions` say where members [n] and non-members [m] stand in their splits; labels likewise, empty
    where they are not known. `half` says that the others were left out.
    """

    attack: str
    params: str
    label: str
    members: Scores
    non_members: Scores
    positions: Integers
    non_positions: Integers
    labels: Integers = field(default_factory=lambda: NOTHING)
    non_labels: Integers = field(default_factory=lambda: NOTHING)
    half: bool = False


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file. Raises UsageError where it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error


def read_evidence(folder: Path) -> list[dict[str, np.ndarray]]:
    """Return the arrays of every file in the folder `evidence` of a saved result."""
    return [read_arrays(path) for path in sorted((folder / "evidence").glob("*.npz"))]


def by_attack(evidence: Iterable[Arrays], *names: str) -> dict[Key, Arrays]:
    """Return, by (attack, params), the arrays of each attack that has all of these."""
    return {(str(one["attack"]), str(one["params"])): one for one in evidence if {"attack", "params", *names} <= set(one)}


def scores_of(found: Arrays, labels: Mapping[str, Integers], label: str = "") -> Scored:
    """Return the scores of one attack's arrays; `labels` are those of whole splits, for attacks that kept none of their own."""
    half = bool(found.get("held_out", False))
    places = [np.flatnonzero(~found[f"known_{side}"]) if half else np.arange(len(found[side])) for side in SIDES]
    members, non_members = (np.asarray(found[side], np.float64)[place] for side, place in zip(SIDES, places, strict=True))
    own, others = (_labels(found, labels, side, place) for side, place in zip(SIDES, places, strict=True))
    name, params = str(found["attack"]), str(found["params"])
    return Scored(name, params, label, members, non_members, places[0], places[1], own, others, half)


def _labels(found: Arrays, labels: Mapping[str, Integers], side: str, place: Integers) -> Integers:
    own = found.get(f"{side[:-1]}_labels", labels.get(side))
    return NOTHING if own is None else own[place]


def scored(rows: Iterable[Row], evidence: Iterable[Arrays], labels: Mapping[str, Integers]) -> list[Scored]:
    """Return the scores of the attacks that have an AUC, in the order of their rows; `labels` as in scores_of()."""
    arrays = by_attack(evidence, *SIDES)
    ranked = dict.fromkeys((row.attack, row.params) for row in rows if row.metric == AUC and row.value is not None)
    keys = [key for key in ranked if key in arrays]
    return [scores_of(arrays[key], labels, label) for key, label in zip(keys, labels_of(keys), strict=True)]


def find(found: Sequence[Scored], rows: Iterable[Row], attack: str) -> Scored:
    """Return the scores of one attack, by its label in figures or by its name (`membership/loss`).

    Of several variants of that name it is the first, and one that is measured on all samples before one that is not. Raises
    Skipped with the reason where the attack gave no scores, UsageError where it did not run.
    """
    named = [one for one in found if one.label == attack] or [one for one in found if attack in (one.attack, short(one.attack))]
    if named:
        return min(named, key=lambda one: one.half)
    reasons = [row.reason for row in rows if attack in (row.attack, short(row.attack)) and row.reason]
    if reasons:
        raise Skipped(f"{attack} gave no scores: {reasons[0]}")
    raise unknown("attack in this result", attack, [name for one in found for name in (one.attack, one.label)])
