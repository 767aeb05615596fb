"""Scores calibrated by reference models: pure functions on arrays, larger means member.

`phi` or `log_p` [n] is the target's statistic on n samples, `references` [n, k] that of k reference models, `held` bool [n, k]
says whose training set held the sample. Online scores need models on both sides of every sample and are NaN without.
Offline scores need models without the sample; a sample that every model holds (half of them where there is one model) is
compared with the other samples' entries, as an attack without references would.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp

from securitynet.metrics.membership import auc

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LEAST = 1e-30  # of a standard deviation: equal entries have none
CHOICES = tuple(one / 10 for one in range(11))  # of RMIA's a, as in the authors' code
USUAL_A, FEWEST_TUNED = 0.33, 4
TINY = np.finfo(np.float64).tiny


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
    return float(np.sqrt(squares.sum() / freedom)) if freedom > 0 else float(references[chosen].std())


def deviations(references: Array, chosen: Mask, per_example: bool) -> Array:
    """Return the standard deviation [n] of each sample: its own (unbiased variance; NaN under two entries), or the pooled one for all."""
    if not per_example:
        return np.full(len(references), max(pooled_deviation(references, chosen), LEAST))
    count, _, squares = side(references, chosen)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.maximum(np.sqrt(squares / (count - 1)), LEAST)


def lira_online(phi: Array, references: Array, held: Mask, per_example: bool = False) -> Array:
    """log N(phi; mean_in, s_in) - log N(phi; mean_out, s_out) [n] (Carlini et al. 2022, algorithm 1)."""
    ratio = np.zeros(len(phi))
    for sign, chosen in ((1, held), (-1, ~held)):
        ratio += sign * stats.norm.logpdf(phi, side(references, chosen)[1], deviations(references, chosen, per_example))
    return ratio


def lira_offline(phi: Array, references: Array, held: Mask, per_example: bool = False) -> Array:
    """log-odds of P(Z <= phi) [n], Z normal as the models without the sample: one-sided (Carlini et al. 2022, equation 4).

    The log-odds rank as the probability does, and do not saturate where it rounds to 0 or 1.
    """
    outside = ~held
    z = (phi - _filled(side(references, outside)[1], float(references[outside].mean()))) / deviations(references, outside, per_example)
    return np.asarray(stats.norm.logcdf(z) - stats.norm.logsf(z))


def student_t_online(phi: Array, references: Array, held: Mask, weight: float = 1.0, shape: float = 4.0, across: bool = True) -> Array:
    """Log ratio [n] of the posterior predictive Student-t densities of both sides, under normal-inverse-gamma priors.

    A side without any entry of a sample gives the prior's predictive density.

    `weight` (kappa_0) and `shape` (alpha_0 > 1) say how many observations the priors are worth. Their variance is the pooled
    one. Their mean is what the sample's other side predicts, by least squares over samples (`across`), or the pooled one.
    """
    ratio = np.zeros(len(phi))
    for sign, chosen in ((1, held), (-1, ~held)):
        t, freedom, scale = _standardised(phi, references, chosen, weight, shape, across)
        ratio += sign * (stats.t.logpdf(t, freedom) - np.log(scale))
    return ratio


def student_t_offline(phi: Array, references: Array, held: Mask, weight: float = 1.0, shape: float = 4.0) -> Array:
    """Log-odds of P(T <= phi) [n], T distributed as the posterior predictive of the models without the sample: one-sided."""
    t, freedom, _ = _standardised(phi, references, ~held, weight, shape, across=False)
    below, above = stats.t.cdf(t, freedom), stats.t.sf(t, freedom)
    return np.asarray(np.log(np.maximum(below, TINY)) - np.log(np.maximum(above, TINY)))


def _standardised(phi: Array, references: Array, chosen: Mask, weight: float, shape: float, across: bool) -> tuple[Array, Array, Array]:
    """Return phi standardised by the predictive distribution, its degrees of freedom and scale, [n] each (Murphy 2007, section 3.3)."""
    count, mean, squares = side(references, chosen)
    pooled = float(references[chosen].mean())
    prior = _predicted(side(references, ~chosen)[1], mean, pooled) if across else np.full(len(phi), pooled)
    alone = across and count.max() < 2  # no spread within samples: then what the prediction leaves unexplained
    deviation = float(np.nanstd(mean - prior)) if alone else pooled_deviation(references, chosen)
    mean = np.where(count > 0, mean, prior)
    total, alpha = weight + count, shape + count / 2
    centre = (weight * prior + count * mean) / total
    beta = max(deviation, LEAST) ** 2 * (shape - 1) + squares / 2 + weight * count * (mean - prior) ** 2 / (2 * total)
    scale = np.sqrt(beta * (total + 1) / (alpha * total))
    return (phi - centre) / scale, 2 * alpha, scale


def _predicted(known: Array, wanted: Array, instead: float) -> Array:
    """Return the least-squares prediction [n] of `wanted` from `known` over the samples that have both; `instead` without `known`."""
    both = np.isfinite(known) & np.isfinite(wanted)
    if not both.any():
        return np.full(len(known), instead)
    x, y = known[both] - known[both].mean(), wanted[both]
    slope = float(x @ y / max(float(x @ x), TINY))
    return _filled(y.mean() + slope * (known - known[both].mean()), instead)


def log_ratio_online(log_p: Array, references: Array, held: Mask) -> Array:
    """log p(x) - log of the mean over both sides of the references' mean p(x) [n] (Zarifzadeh et al. 2024)."""
    return log_p - np.logaddexp(_log_mean(references, held), _log_mean(references, ~held)) + np.log(2)


def log_ratio_offline(log_p: Array, references: Array, held: Mask, a: float = 0.33) -> Array:
    """log p(x) - log of ((1 + a) * mean p without the sample + 1 - a) / 2 [n] (Zarifzadeh et al. 2024, offline)."""
    outside = _filled(_log_mean(references, ~held), _log_mean_of_all(references, ~held))
    with np.errstate(divide="ignore"):  # a = 1: nothing is added
        return log_p - np.logaddexp(np.log1p(a) + outside, np.log1p(-a)) + np.log(2)


def tuned_a(references: Array, held: Mask) -> float:
    """Return the `a` of CHOICES with the largest mean AUC of log_ratio_offline() over attacks on each reference by the others.

    The first of equal ones; USUAL_A where there are fewer than four references or none held anything.
    """
    if references.shape[1] < FEWEST_TUNED or not held.any():
        return USUAL_A
    means = [np.mean([_auc_on(references, held, j, a) for j in range(references.shape[1])]) for a in CHOICES]
    return CHOICES[int(np.argmax(np.round(means, 12)))]


def _auc_on(references: Array, held: Mask, j: int, a: float) -> float:
    """The AUC on reference j, whose members are known, with the others as its references."""
    rest = np.arange(references.shape[1]) != j
    scores = log_ratio_offline(references[:, j], references[:, rest], held[:, rest], a)
    return auc(scores[held[:, j]], scores[~held[:, j]]).value or 0.0


def rmia(log_ratio: Array, population: NDArray[np.int64], gamma: float = 1.0) -> Array:
    """Share of the population z with ratio(x) / ratio(z) > gamma [n] (Zarifzadeh et al. 2024, equation 2).

    `log_ratio` [n] is of all samples, `population` int64 [m] says which of them are the z; a sample is not compared with itself.
    """
    z = np.sort(log_ratio[population])
    limit = log_ratio - np.log(gamma)
    wins, others = np.searchsorted(z, limit, side="left"), np.full(len(log_ratio), len(z))
    wins[population] -= log_ratio[population] < limit[population]
    others[population] -= 1
    return wins / others


def base(log_p: Array, references: Array, held: Mask, online: bool = True, weight: float = 0.33) -> Array:
    """log p(x) - log mean of the references' p(x) [n]; offline `weight` times that mean over models without the sample."""
    if online:
        return log_p - _log_mean(references, np.ones_like(held))
    return log_p - weight * _filled(_log_mean(references, ~held), _log_mean_of_all(references, ~held))


def attack_r(log_p: Array, references: Array, held: Mask) -> Array:
    """Share of the models without the sample whose loss on it is larger than the target's [n] (Ye et al. 2022, attack R)."""
    count = (~held).sum(axis=1)
    smaller = ((references < log_p[:, None]) & ~held).sum(axis=1)
    anyone = np.searchsorted(np.sort(references[~held]), log_p, side="left") / max(1, count.sum())
    return np.where(count > 0, smaller / count.clip(min=1), anyone)


def _log_mean(references: Array, chosen: Mask) -> Array:
    """log of the mean probability [n] of the chosen entries of each row; exact for tiny ones, NaN for none."""
    count = chosen.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        summed = logsumexp(np.where(chosen, references, -np.inf), axis=1)
        return np.where(count > 0, summed - np.log(count), np.nan)


def _log_mean_of_all(references: Array, chosen: Mask) -> float:
    """log of the mean probability of all chosen entries."""
    entries = references[chosen]
    return float(logsumexp(entries) - np.log(len(entries)))


def _filled(values: Array, instead: float) -> Array:
    return np.where(np.isnan(values), instead, values)
