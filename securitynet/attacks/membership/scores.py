"""Scores of membership, functions of the model's answers; float64, exact for extreme logits, larger means member."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securitynet.target import Outputs

Scores = NDArray[np.float64]


def log_likelihood(outputs: Outputs) -> Scores:
    """log p_y [n], the negative cross-entropy."""
    return _of_label(outputs.log_probabilities, outputs.labels)


def log_odds(outputs: Outputs) -> Scores:
    """log p_y - log sum of the other p [n] (Carlini et al. 2022, section V-A, in its stable form)."""
    return log_likelihood(outputs) - log_others(outputs)


def log_others(outputs: Outputs) -> Scores:
    """log(1 - p_y) [n], summed from the other classes so that nothing cancels."""
    others = outputs.log_probabilities.copy()
    np.put_along_axis(others, outputs.labels[:, None], -np.inf, axis=1)
    top = others.max(axis=1, keepdims=True)
    return (top + np.log(np.exp(others - top).sum(axis=1, keepdims=True)))[:, 0]


def negative_entropy(outputs: Outputs) -> Scores:
    """sum of p log p [n]."""
    log_p = outputs.log_probabilities
    return (np.exp(log_p) * log_p).sum(axis=1)


def negative_modified_entropy(outputs: Outputs) -> Scores:
    """(1 - p_y) log p_y + sum over i != y of p_i log(1 - p_i) [n] (Song & Mittal 2021, equation 8, negated)."""
    log_p, p = outputs.log_probabilities, np.exp(outputs.log_probabilities)
    log_rest = np.log1p(-np.minimum(p, 0.5))  # exact up to one half; only the largest p can exceed that
    top = log_p.argmax(axis=1)
    np.put_along_axis(log_rest, top[:, None], log_others(Outputs(outputs.logits, top))[:, None], axis=1)
    terms = p * log_rest
    np.put_along_axis(terms, outputs.labels[:, None], 0.0, axis=1)
    return np.exp(log_others(outputs)) * log_likelihood(outputs) + terms.sum(axis=1)


def _of_label(values: Scores, labels: NDArray[np.int64]) -> Scores:
    return np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
