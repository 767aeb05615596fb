"""The scores behind a result's membership rows, attack by attack, with the images they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securitynet.errors import Skipped, unknown
from securitynet.results import Result

Scores = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scored:
    """One attack's scores of the samples that it is measured on: where it was fitted on some, only of the others.

    `positions` and `non_positions` say where members [n] and non-members [m] stand in their splits; labels likewise.
    """

    attack: str
    params: str
    label: str
    members: Scores
    non_members: Scores
    positions: Integers
    non_positions: Integers
    labels: Integers
    non_labels: Integers


def scored(result: Result) -> list[Scored]:
    """Return the attacks of `result` that have an AUC, in the order of their rows."""
    evidence = {(str(found["attack"]), str(found["params"])): found for found in result.evidence.values() if "members" in found}
    ranked = dict.fromkeys((row.attack, row.params) for row in result.rows if row.metric == "auc" and row.value is not None)
    keys = [key for key in ranked if key in evidence]
    return [_scored(result, evidence[key], label) for key, label in zip(keys, labels_of(keys), strict=True)]


def find(result: Result, attack: str) -> Scored:
    """Return the scores of one attack, by its label in figures or by its name (`membership/loss`).

    Of several variants of that name it is the first, and one that is measured on all samples before one that is not. Raises
    Skipped with the reason where the attack gave no scores, UsageError where it did not run.
    """
    found = scored(result)
    named = [one for one in found if one.label == attack] or [one for one in found if attack in (one.attack, _short(one.attack))]
    if named:
        return min(named, key=lambda one: bool(json.loads(one.params).get("held_out")))
    reasons = [row.reason for row in result.rows if attack in (row.attack, _short(row.attack)) and row.reason]
    if reasons:
        raise Skipped(f"{attack} gave no scores: {reasons[0]}")
    raise unknown("attack in this result", attack, [name for one in found for name in (one.attack, one.label)])


def labels_of(keys: Sequence[tuple[str, str]]) -> list[str]:
    """Return a short label for each (attack, params): the name, with the hyper-parameters in which its variants here differ."""
    params = [flat(json.loads(text)) for _, text in keys]
    return [_short(name) + _told(own, _varying(name, keys, params)) for (name, _), own in zip(keys, params, strict=True)]


def _varying(name: str, keys: Sequence[tuple[str, str]], params: Sequence[Mapping[str, Any]]) -> list[str]:
    variants = [own for (other, _), own in zip(keys, params, strict=True) if other == name]
    names = dict.fromkeys(key for own in variants for key in own)
    return [key for key in names if len({json.dumps(own.get(key)) for own in variants}) > 1]


def _told(own: Mapping[str, Any], varying: Sequence[str]) -> str:
    given = [(key, own.get(key)) for key in varying if own.get(key) not in (None, False)]
    words = ["half" if key == "held_out" else key.replace("_", " ") if value is True else f"{key} {value}" for key, value in given]
    return f" ({', '.join(words)})" if words else ""


def flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return hyper-parameters without groups: `recipe epochs` for the epochs of a recipe."""
    found: dict[str, Any] = {}
    for key, value in params.items():
        found |= flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _short(attack: str) -> str:
    return attack.removeprefix("membership/")


def _scored(result: Result, found: Mapping[str, np.ndarray], label: str) -> Scored:
    positions, labels = [], []
    for side, split in (("members", result.splits.members), ("non_members", result.splits.non_members)):
        known = found[f"known_{side}"] if found.get("held_out", False) else np.zeros(len(found[side]), dtype=bool)
        positions.append(np.flatnonzero(~known))
        assert split is not None
        labels.append(found.get(f"{side[:-1]}_labels", split.labels)[positions[-1]])
    scores = found["members"][positions[0]], found["non_members"][positions[1]]
    return Scored(str(found["attack"]), str(found["params"]), label, *scores, positions[0], positions[1], labels[0], labels[1])
