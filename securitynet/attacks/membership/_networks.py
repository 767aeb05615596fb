"""Small networks that tell members from non-members: equal weight to both groups, stopped by the log-loss of samples kept aside."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ASIDE = 10  # every tenth sample of each group
PATIENCE = 10
GUESSING = float(np.log(2))


@dataclass(frozen=True)
class NetworkSettings:
    """Units of the hidden layers, Adam's learning rate, and the most epochs."""

    hidden: tuple[int, ...]
    learning_rate: float
    epochs: int


@dataclass(frozen=True, eq=False)
class Network:
    """One network at its best epoch, and what its log-loss gained there over guessing."""

    model: Any
    gain: float


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks on standardised features; their probabilities are averaged."""

    centre: Array
    scale: Array
    fits: tuple[Network, ...]

    @property
    def gain(self) -> float:
        """What they gained over guessing on samples kept aside, their mean, in nats."""
        return float(np.mean([fit.gain for fit in self.fits]))

    def predict_proba(self, features: Array) -> Array:
        """Return the probabilities of non-member and member [n, 2]."""
        standard = (features - self.centre) / self.scale
        return np.asarray(np.mean([fit.model.predict_proba(standard) for fit in self.fits], axis=0))


def trained(features: Array, is_member: NDArray[np.int64], settings: NetworkSettings, seed: int) -> Network:
    """Train one network on nine tenths of the samples; return it as it was in the epoch with the lowest log-loss on the tenth.

    Accuracy would not do to stop by: of 4,000 members and 1,000 non-members, calling everybody a member is right four times
    in five, before the first epoch.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    aside = kept_aside(is_member, seed)
    model = MLPClassifier(settings.hidden, learning_rate_init=settings.learning_rate, random_state=seed)
    weights, best, waited = balanced(is_member), Network(None, -np.inf), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(settings.epochs):
            model.partial_fit(features[~aside], is_member[~aside], sample_weight=weights[~aside], classes=np.array([0, 1]))
            gain = GUESSING - log_loss(model.predict_proba(features[aside]), is_member[aside])
            best, waited = (Network(deepcopy(model), gain), 0) if gain > best.gain else (best, waited + 1)
            if waited >= PATIENCE:
                break
    return best


def kept_aside(is_member: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return a mask of a tenth of the samples of each group, at least one, drawn by `seed`."""
    aside, rng = np.zeros(len(is_member), dtype=bool), np.random.default_rng(seed)
    for group in (0, 1):
        own = np.flatnonzero(is_member == group)
        aside[rng.permutation(own)[: max(1, len(own) // ASIDE)]] = True
    return aside


def balanced(is_member: NDArray[np.int64]) -> Array:
    """Return one weight per sample, of mean 1, such that both groups weigh the same."""
    counts = np.bincount(is_member, minlength=2)
    return np.asarray((len(is_member) / 2 / counts)[is_member])


def log_loss(probabilities: Array, is_member: NDArray[np.int64]) -> float:
    """Return the log-loss of probabilities [n, 2] in nats, both groups weighing the same."""
    given = np.maximum(probabilities[np.arange(len(is_member)), is_member], np.finfo(np.float64).tiny)
    return float(-np.average(np.log(given), weights=balanced(is_member)))
