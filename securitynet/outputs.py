"""Outputs: the logits that a model returned, and what is computed from them once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Kept = TypeVar("Kept")
LOWEST = float(np.finfo(np.float32).min)
PIECE = 2**15  # values that are worked on at once: larger copies in float64 would be fetched from the system anew each time


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model returned on a split: logits [n, k] float32 and the labels [n] int64 that count there."""

    logits: np.ndarray
    labels: np.ndarray
    _kept: dict[Callable[[Outputs], Any], Any] = field(default_factory=dict, init=False, repr=False)

    def cached(self, compute: Callable[[Outputs], Kept]) -> Kept:
        """Return compute(self), computed at the first call and kept from then on: for what is small, a few numbers per sample."""
        if compute not in self._kept:
            self._kept[compute] = compute(self)
        kept: Kept = self._kept[compute]
        return kept

    def pieces(self) -> Iterator[tuple[slice, Outputs]]:
        """Yield all rows in order as (rows, view of them), few enough that working copies in float64 cost next to nothing."""
        size = max(1, PIECE // max(1, self.logits.shape[1]))
        for start in range(0, len(self.logits), size):
            rows = slice(start, start + size)
            yield rows, Outputs(self.logits[rows], self.labels[rows])

    @property
    def log_probabilities(self) -> np.ndarray:
        """float64 [n, k], normalised exactly: extreme logits stay finite and ordered. Large, so it is computed at every call."""
        whole = np.empty(self.logits.shape, np.float64)
        for rows, piece in self.pieces():
            whole[rows] = _log_softmax(piece.logits)
        return whole

    @cached_property
    def finite(self) -> bool:
        """Whether every logit is a finite number."""
        return all(bool(np.isfinite(piece.logits).all()) for _, piece in self.pieces())

    @cached_property
    def predictions(self) -> np.ndarray:
        """int64 [n], the class with the largest logit (the first of equals)."""
        return self.logits.argmax(axis=1)


def bounded(logits: np.ndarray) -> np.ndarray:
    """Return logits in float64, -inf (a class that cannot be) as the lowest float32: differences stay numbers."""
    z = logits.astype(np.float64)
    return np.maximum(z, LOWEST, out=z)


def completed(given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities [n, k] that sum to one: what is missing goes to the classes that are zero, too much is scaled down."""
    hidden = given <= 0
    missing = np.maximum(0.0, 1 - given.sum(axis=1, keepdims=True))
    filled = given + np.where(hidden, missing / np.maximum(1, hidden.sum(axis=1, keepdims=True)), 0.0)
    return np.asarray(filled / filled.sum(axis=1, keepdims=True))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    z = bounded(logits)
    top = z.argmax(axis=1)[:, None]
    z -= np.take_along_axis(z, top, axis=1)
    others = np.exp(z)
    np.put_along_axis(others, top, 0.0, axis=1)  # log1p of the others keeps log p near p = 1
    z -= np.log1p(others.sum(axis=1, keepdims=True))
    return z
