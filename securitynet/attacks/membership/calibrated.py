"""Scores calibrated by reference models: pure functions on arrays, larger means member.

`phi` [n] is the target's statistic on n samples, `references` [n, k] that of k reference models, `held` bool [n, k] says
whose training set held the sample. Statistics over an empty side are NaN, and so are the scores that need them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def side(references: Array, chosen: Mask) -> tuple[Array, Array, Array]:
    """Return count [n], mean [n] and sum of squared deviations [n] of the chosen entries of each row; the mean of none is NaN."""
    count = chosen.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(chosen, references, 0.0).sum(axis=1) / count
    squares = (np.where(chosen, references - mean[:, None], 0.0) ** 2).sum(axis=1)
    return count, mean, squares


def pooled_deviation(references: Array, chosen: Mask) -> float:
    """Return one standard deviation for all samples: within samples where some have two entries, else over all entries."""
    count, _, squares = side(references, chosen)
    freedom = (count - 1).clip(min=0).sum()
    return float(np.sqrt(np.nansum(squares) / freedom)) if freedom > 0 else float(references[chosen].std())


def deviations(references: Array, chosen: Mask, per_example: bool) -> Array:
    """Return the standard deviation [n] of each sample: its own (unbiased variance), or the pooled one for all."""
    if not per_example:
        return np.full(len(references), pooled_deviation(references, chosen))
    count, _, squares = side(references, chosen)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(squares / (count - 1))


def lira_online(phi: Array, references: Array, held: Mask, per_example: bool = False) -> Array:
    """log N(phi; mean_in, s_in) - log N(phi; mean_out, s_out) [n] (Carlini et al. 2022, algorithm 1)."""
    ratio = np.zeros(len(phi))
    for sign, chosen in ((1, held), (-1, ~held)):
        ratio += sign * stats.norm.logpdf(phi, side(references, chosen)[1], deviations(references, chosen, per_example))
    return ratio


def lira_offline(phi: Array, references: Array, held: Mask, per_example: bool = False) -> Array:
    """log P(Z <= phi) for Z normal as the models without the sample [n]: one-sided (Carlini et al. 2022, equation 4)."""
    return np.asarray(stats.norm.logcdf(phi, side(references, ~held)[1], deviations(references, ~held, per_example)))


def student_t(phi: Array, references: Array, held: Mask, online: bool = True, weight: float = 1.0, shape: float = 2.0) -> Array:
    """Posterior-predictive ratio [n] under a normal-inverse-gamma prior per side, whose mean and variance are the pooled ones.

    `weight` (kappa_0) and `shape` (alpha_0) say how many observations the prior is worth. Offline: log P(T <= phi), one-sided.
    """
    if not online:
        return np.asarray(stats.t.logcdf(*_predictive(phi, references, ~held, weight, shape)))
    inside = stats.t.logpdf(*_predictive(phi, references, held, weight, shape))
    return np.asarray(inside - stats.t.logpdf(*_predictive(phi, references, ~held, weight, shape)))


def _predictive(phi: Array, references: Array, chosen: Mask, weight: float, shape: float) -> tuple[Array, Array, Array, Array]:
    """Return phi and the degrees of freedom, centre and scale of its predictive distribution (Murphy 2007, section 3.3)."""
    count, mean, squares = side(references, chosen)
    prior_mean, prior_variance = float(references[chosen].mean()), pooled_deviation(references, chosen) ** 2
    mean = np.where(count > 0, mean, prior_mean)
    total, alpha = weight + count, shape + count / 2
    centre = (weight * prior_mean + count * mean) / total
    beta = prior_variance * (shape - 1) + squares / 2 + weight * count * (mean - prior_mean) ** 2 / (2 * total)
    return phi, 2 * alpha, centre, np.sqrt(beta * (total + 1) / (alpha * total))


def log_ratio_online(log_p: Array, references: Array, held: Mask) -> Array:
    """log p(x) - log of the mean over sides of the references' mean p(x) [n]."""
    means = [_mean_probability(references, chosen) for chosen in (held, ~held)]
    return log_p - np.log((means[0] + means[1]) / 2)


def log_ratio_offline(log_p: Array, references: Array, held: Mask, a: float = 0.33) -> Array:
    """log p(x) - log of ((1 + a) * mean p without the sample + 1 - a) / 2 [n] (Zarifzadeh et al. 2024, section 3)."""
    return log_p - np.log(((1 + a) * _mean_probability(references, ~held) + 1 - a) / 2)


def _mean_probability(references: Array, chosen: Mask) -> Array:
    return side(np.exp(references), chosen)[1]


def rmia(log_ratio: Array, population: Array, gamma: float = 1.0) -> Array:
    """Share of population samples z with ratio(x) / ratio(z) > gamma [n], both as log ratios (Zarifzadeh et al. 2024, equation 2)."""
    return np.searchsorted(np.sort(population), log_ratio - np.log(gamma), side="left") / len(population)


def base(log_p: Array, references: Array, held: Mask, online: bool = True, weight: float = 0.33) -> Array:
    """log p(x) - log mean of the references' p(x) [n]; offline `weight` times that mean over models without the sample."""
    if online:
        return log_p - np.log(np.exp(references).mean(axis=1))
    return log_p - weight * np.log(_mean_probability(references, ~held))


def attack_r(log_p: Array, references: Array, held: Mask) -> Array:
    """Share of the models without the sample whose loss on it is larger than the target's [n] (Ye et al. 2022, attack R)."""
    smaller = (references < log_p[:, None]) & ~held
    with np.errstate(invalid="ignore"):
        return smaller.sum(axis=1) / (~held).sum(axis=1)
