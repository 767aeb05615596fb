"""Scores of membership, functions of the model's outputs; float64, exact for extreme logits, larger means member.

All of them come from one pass over the outputs, in pieces that fit the processor's cache; what is kept is one number per sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securitynet.outputs import Outputs, bounded

Scores = NDArray[np.float64]
SMALLEST = 1e-290  # below this a sum of exponentials has begun to lose addends


class Statistics(NamedTuple):
    """What the scores are made of, each [n]: log p_y, log(1 - p_y), sum of p log p, and the negative modified entropy."""

    log_likelihood: Scores
    log_others: Scores
    negative_entropy: Scores
    negative_modified_entropy: Scores


def log_likelihood(outputs: Outputs) -> Scores:
    """log p_y [n], the negative cross-entropy."""
    return outputs.cached(statistics).log_likelihood


def log_odds(outputs: Outputs) -> Scores:
    """log p_y - log sum of the other p [n] (Carlini et al. 2022, section V-A, in its stable form)."""
    return log_likelihood(outputs) - log_others(outputs)


def log_others(outputs: Outputs) -> Scores:
    """log(1 - p_y) [n], summed from the other classes so that nothing cancels."""
    return outputs.cached(statistics).log_others


def negative_entropy(outputs: Outputs) -> Scores:
    """sum of p log p [n]."""
    return outputs.cached(statistics).negative_entropy


def negative_modified_entropy(outputs: Outputs) -> Scores:
    """(1 - p_y) log p_y + sum over i != y of p_i log(1 - p_i) [n] (Song & Mittal 2021, equation 8, negated)."""
    return outputs.cached(statistics).negative_modified_entropy


def statistics(outputs: Outputs) -> Statistics:
    """Return all statistics from one pass; their arrays are read-only, as every score shares them."""
    whole = np.empty((len(Statistics._fields), len(outputs.labels)))
    for rows, piece in outputs.pieces():
        whole[:, rows] = _of_piece(piece)
    whole.setflags(write=False)
    return Statistics(*whole)


def _of_piece(piece: Outputs) -> Statistics:
    rows, labels = np.arange(len(piece.labels)), piece.labels
    z = bounded(piece.logits)
    top = z.argmax(axis=1)
    z -= z[rows, top][:, None]
    p = np.exp(z)
    p[rows, top] = 0.0
    rest = p.sum(axis=1)  # of the classes but the largest, which counts 1: log1p of it keeps log p near p = 1
    log_total = np.log1p(rest)
    log_p = z[rows, labels] - log_total
    entropy = np.einsum("ij,ij->i", p, z) / (1 + rest) - log_total
    log_rest = _log_rest(z, top, rest) - log_total
    p /= (1 + rest)[:, None]
    sure = labels == top
    log_others = np.where(sure, log_rest, np.log1p(-p[rows, labels]))  # a p that is not the largest is at most one half
    others = np.einsum("ij,ij->i", p, np.log1p(-p)) + np.where(sure, 0.0, _largest_term(log_total, log_rest, p[rows, labels]))
    return Statistics(log_p, log_others, entropy, np.exp(log_others) * log_p + others)


def _largest_term(log_total: Scores, log_rest: Scores, p_label: Scores) -> Scores:
    """Return p log(1 - p) of the largest class less that of the label: what is missing, and what does not belong, in the sum of all."""
    return np.asarray(np.exp(-log_total) * log_rest - p_label * np.log1p(-p_label))


def _log_rest(z: Scores, top: NDArray[np.intp], rest: Scores) -> Scores:
    """Return the logarithm of `rest`, computed again from its largest addend where the sum left the range of float64."""
    with np.errstate(divide="ignore"):
        found = np.log(rest)
    lost = np.flatnonzero(rest < SMALLEST)
    if len(lost):
        others = z[lost]
        others[np.arange(len(lost)), top[lost]] = -np.inf
        peak = others.max(axis=1)
        found[lost] = peak + np.log(np.exp(others - peak[:, None]).sum(axis=1))
    return found
