"""Several attacks on the same samples as one family: lower limits of their AUCs that hold together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from securitynet.metrics.crossed import Masks, Sides, crossed
from securitynet.metrics.placements import Scores, Wins, centre_and_variance, wins

DRAWS = 200_000


class Area(NamedTuple):
    """An AUC, the centre of its interval, its standard error, and what each sample adds to the AUC's error, [n] and [m]."""

    value: float
    centre: float
    error: float
    members: Scores
    non_members: Scores


def area(members: Scores, non_members: Scores) -> Area:
    """Return the AUC of an attack whose scores of all samples have one scale; each group needs two samples."""
    won = wins(members, non_members)
    centre, variance = centre_and_variance(won)
    inside, outside = influence(won)
    return Area(float(won.members.mean() / len(non_members)), centre, float(np.sqrt(variance)), inside, outside)


def crossed_area(first: Sides, second: Sides, known: Masks) -> Area:
    """Return the AUC of an attack that was fitted twice (see crossed.crossed_auc), with the error of halves that err together.

    Nothing is assumed about the correlation of both halves: the error of their mean is at most the mean of their errors.
    """
    members, non_members = np.zeros(len(first[0])), np.zeros(len(first[1]))
    errors = []
    for scores, chosen in ((first, [~mask for mask in known]), (second, list(known))):
        won = wins(scores[0][chosen[0]], scores[1][chosen[1]])
        inside, outside = influence(won)
        members[chosen[0]], non_members[chosen[1]] = inside / 2, outside / 2
        errors.append(float(np.sqrt(centre_and_variance(won)[1])))
    found = crossed(first, second, known)
    return Area(found.value, found.centre, sum(errors) / 2, members, non_members)


def weighted_area(members: Scores, non_members: Scores, masks: Masks | None = None, weights: Scores | None = None) -> Area:
    """Return the AUC over the samples of both masks (None: all), non-member j counting `weights[j]` [m] times (None: once).

    What each sample adds to the error stands at its place among all samples, zero outside the masks.
    """
    chosen = masks or (np.ones(len(members), bool), np.ones(len(non_members), bool))
    one, other = members[chosen[0]], non_members[chosen[1]]
    mass = np.ones(len(other)) if weights is None else weights[chosen[1]].astype(np.float64)
    order = np.argsort(other, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(mass[order])])
    edges = [np.searchsorted(other[order], one, side=side) for side in ("left", "right")]
    beaten = (total[edges[0]] + total[edges[1]]) / 2 / mass.sum()
    ranked = np.sort(one)
    above = 1 - (np.searchsorted(ranked, other, side="left") + np.searchsorted(ranked, other, side="right")) / 2 / len(one)
    value = float(beaten.mean())
    inside, outside = np.zeros(len(members)), np.zeros(len(non_members))
    inside[chosen[0]] = (beaten - value) / len(one) * np.sqrt(len(one) / max(1, len(one) - 1))
    outside[chosen[1]] = mass * (above - value) / mass.sum() * np.sqrt(len(other) / max(1, len(other) - 1))
    error = float(np.sqrt((inside**2).sum() + (outside**2).sum() + 0.25 / len(one) ** 2 + 0.25 / len(other) ** 2))
    return Area(value, value, error, inside, outside)


def halved(parts: Sequence[Area]) -> Area:
    """Return the mean of AUCs, each of other samples (one: itself); nothing is assumed about the correlation of their errors."""
    return Area(
        float(np.mean([part.value for part in parts])),
        float(np.mean([part.centre for part in parts])),
        float(np.mean([part.error for part in parts])),
        np.mean([part.members for part in parts], axis=0),
        np.mean([part.non_members for part in parts], axis=0),
    )


def beyond(one: Area, other: Area) -> Area:
    """Return the difference of two AUCs of the same samples, paired.

    Where the first is of two fits that may err together (crossed_area), its error is larger than its samples' contributions say,
    and the difference's is so by the same factor.
    """
    members, non_members = one.members - other.members, one.non_members - other.non_members
    own = float(np.sqrt((one.members**2).sum() + (one.non_members**2).sum()))
    factor = max(1.0, one.error / own) if own else 1.0
    paired = float((members**2).sum() + (non_members**2).sum())
    error = factor * float(np.sqrt(paired + 0.25 / len(members) ** 2 + 0.25 / len(non_members) ** 2))
    return Area(one.value - other.value, one.centre - other.centre, error, members, non_members)


def influence(won: Wins) -> tuple[Scores, Scores]:
    """Return what each member [n] and non-member [m] adds to the AUC's error: their squares sum to DeLong's variance."""
    n, m = len(won.members), len(won.non_members)
    inside, outside = won.members / m, won.non_members / n
    return (inside - inside.mean()) / n, (outside - outside.mean()) / m


def lower_limits(areas: Sequence[Area], miss: float, seed: int = 0) -> list[float]:
    """Return a lower limit of each AUC; the chance that any of them lies above its truth is at most `miss`.

    The limits are as many errors below as the largest of jointly normal errors exceeds with probability `miss` (max-T). The
    attacks see the same samples, so the correlations of their errors are those of the samples' contributions (DeLong et al. 1988).
    """
    together = np.stack([np.concatenate([one.members, one.non_members]) for one in areas])
    sizes = np.sqrt((together**2).sum(axis=1))
    directions = together / np.where(sizes > 0, sizes, 1.0)[:, None]
    values, vectors = np.linalg.eigh(directions @ directions.T)
    drawn = np.random.default_rng(seed).standard_normal((DRAWS, len(areas))) * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    critical = float(np.quantile(drawn.max(axis=1), 1 - miss))
    return [min(one.value, one.centre - critical * one.error) for one in areas]
