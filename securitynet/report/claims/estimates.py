"""Estimates whose interval respects that models are related: every cluster of models is left out once (delete-one-cluster jackknife)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.metrics.intervals import LEVEL

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Statistic = Callable[[Mask], float]
FEWEST_CLUSTERS = 6
LEVELS = ("model type", "training recipe", "model")


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, n, and the clusters (how many, of what) that were left out one by one."""

    value: float
    low: float | None
    high: float | None
    n: int
    clusters: int
    unit: str
    df: float | None = None


@dataclass(frozen=True)
class Spread:
    """An estimate on the scale on which it is about normal: centre, standard error and degrees of freedom of Student's t."""

    centre: float
    error: float
    df: float
    clusters: int
    fisher: bool = False

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval on the scale of the number itself."""
        half = float(stats.t.ppf((1 + LEVEL) / 2, self.df)) * self.error
        low, high = self.centre - half, self.centre + half
        return (float(np.tanh(low)), float(np.tanh(high))) if self.fisher else (low, high)

    def above(self, threshold: float) -> float:
        """Return the one-sided p-value of the hypothesis that the true value is at most `threshold`."""
        wanted = float(np.arctanh(threshold)) if self.fisher else threshold
        if self.error == 0:
            return 0.0 if self.centre > wanted else 1.0
        return float(stats.t.sf((self.centre - wanted) / self.error, self.df))

    def below(self, threshold: float) -> float:
        """Return the one-sided p-value of the hypothesis that the true value is at least `threshold`."""
        wanted = float(np.arctanh(threshold)) if self.fisher else threshold
        if self.error == 0:
            return 0.0 if self.centre < wanted else 1.0
        return float(stats.t.cdf((self.centre - wanted) / self.error, self.df))

    def estimate(self, n: int, unit: str) -> Estimate:
        """Return the number with its interval."""
        value = float(np.tanh(self.centre)) if self.fisher else self.centre
        return Estimate(value, *self.interval(), n, self.clusters, unit, round(self.df, 2))


def jackknife(
    statistic: Statistic,
    clusters: Sequence[str],
    arms: Sequence[str] | None = None,
    fisher: bool = False,
    weights: Floats | None = None,
) -> Spread:
    """Return the spread of `statistic`, a function of a mask over lines [n], when each of `clusters` [n] is left out once.

    The variance is (G - 1) / G times the sum of squared changes (CV3J of MacKinnon, Nielsen & Webb 2023, around the whole estimate);
    the degrees of freedom are one less than the effective number of clusters, (sum w_g)^2 / sum w_g^2, of the arm that has fewest; w_g
    is the number of a cluster's lines, or the sum of their `weights` [n].
    With `fisher` the statistic is Fisher's z of a correlation. Raises ValueError where a cluster cannot be left out.
    """
    labels = np.asarray(clusters, dtype=object)
    names = list(dict.fromkeys(labels))
    whole = statistic(np.ones(len(labels), dtype=bool))
    left = np.asarray([statistic(labels != name) for name in names])
    if len(names) < 3 or not np.isfinite(left).all() or not np.isfinite(whole):
        raise ValueError("without one of the few clusters of related models nothing is left to compare")
    error = float(np.sqrt((len(names) - 1) / len(names) * np.square(left - whole).sum()))
    groups = np.zeros(len(labels), dtype=object) if arms is None else np.asarray(arms, dtype=object)
    weighed = np.ones(len(labels)) if weights is None else weights
    df = min(_effective(labels[groups == arm], weighed[groups == arm]) for arm in set(groups)) - 1
    return Spread(float(whole), error, max(df, 1.0), len(names), fisher)


def _effective(labels: NDArray[np.object_], weights: Floats) -> float:
    _, numbers = np.unique(labels.astype(str), return_inverse=True)
    sums = np.bincount(numbers, weights)
    return float(sums.sum() ** 2 / np.square(sums).sum())


def clusters_of(lines: pd.DataFrame, arms: Sequence[str] | None = None) -> tuple[list[str], str]:
    """Return the cluster of each line and what the clusters are: model types where there are six, else training recipes, else models.

    A training recipe is the folder of the id without the number of a run. The level is chosen in each arm for itself.
    """
    chosen = np.empty(len(lines), dtype=object)
    groups = np.zeros(len(lines), dtype=object) if arms is None else np.asarray(arms, dtype=object)
    units = []
    for arm in dict.fromkeys(groups):
        inside = groups == arm
        labels, unit = _coarsest(lines[inside])
        chosen[inside] = labels
        units.append(unit)
    return [str(one) for one in chosen], " and ".join(f"{unit}s" for unit in dict.fromkeys(units))


def _coarsest(lines: pd.DataFrame) -> tuple[list[str], str]:
    levels: Mapping[str, list[str]] = {
        "model type": [str(kind) for kind in lines["model_type"]],
        "training recipe": [_recipe(str(id)) for id in lines["entry"]],
        "model": [str(id) for id in lines["entry"]],
    }
    unit = next((name for name in LEVELS if len(set(levels[name])) >= FEWEST_CLUSTERS), LEVELS[-1])
    return levels[unit], unit


def _recipe(id: str) -> str:
    folders = id.split("/")[:-1]
    return "/".join(folders[:-1] if folders and folders[-1].isdigit() else folders)
