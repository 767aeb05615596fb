"""How faithfully a surrogate predicts like its target: agreement of classes, distances of probabilities, each the mean over samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.intervals import Estimate, rate
from securitynet.metrics.means import given, over_models
from securitynet.metrics.means import mean as mean  # said twice: others take it from here
from securitynet.metrics.vocabulary import AGREEMENT, KL, TOTAL_VARIATION

Probabilities = NDArray[np.float64]


def agreement(predictions: NDArray[np.int64], references: NDArray[np.int64]) -> Estimate:
    """Return the share of samples on which surrogate and target name the same class, int [n] each, with its exact interval."""
    return rate(AGREEMENT, int((predictions == references).sum()), len(references))


def kl(predictions: Probabilities, references: Probabilities, seed: int = 0) -> Estimate:
    """Return the mean Kullback-Leibler divergence of the surrogate's probabilities from the target's, [n, k] each, in nats.

    It is sum(p log(p / q)) with p the target's; where q is zero, the smallest positive number stands for it.
    """
    tiny = np.finfo(np.float64).tiny
    logs = np.log(np.maximum(references, tiny)) - np.log(np.maximum(predictions, tiny))
    return mean(KL, (references * logs).sum(axis=1), seed)


def total_variation(predictions: Probabilities, references: Probabilities, seed: int = 0) -> Estimate:
    """Return the mean total variation distance of the probabilities, [n, k] each: half the sum of absolute differences, in [0,1]."""
    return mean(TOTAL_VARIATION, np.abs(predictions - references).sum(axis=1) / 2, seed)


def share(metric: str, hits: NDArray[np.bool_]) -> Estimate:
    """Return the share of `hits` bool [models, n] over models and samples.

    Of one model the interval is the exact binomial one, given that model; of several see means.over_models.
    """
    if len(hits) == 1:
        found = rate(metric, int(hits.sum()), hits.shape[1])
        return replace(found, ci_method=f"{found.ci_method}, {given(1)}") if found.ci_method else found
    return over_models(metric, hits.astype(np.float64), 0.0, 1.0)


def distances(predictions: Probabilities, references: Probabilities) -> tuple[Probabilities, Probabilities]:
    """Return Kullback-Leibler divergence [n] in nats and total variation [n] of log-probabilities [n, k] from the target's.

    From logarithms, so that no probability is too small to count.
    """
    p, q = np.exp(references), np.exp(predictions)
    return (p * (references - predictions)).sum(axis=1), np.abs(p - q).sum(axis=1) / 2
