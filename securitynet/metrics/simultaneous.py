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
