"""Which response to defended outputs an attacker takes: each is tried on a part of the queries, agreement on the rest decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from securitynet.attacks.stealing import _responses as responses
from securitynet.attacks.stealing._responses import Probabilities, Tried

if TYPE_CHECKING:
    from securitynet.attacks.stealing._pools import Positions
    from securitynet.attacks.stealing._thief import Thief

HELD_OUT = 0.25  # share of the queries that chooses
MOST = 4000  # queries that a choice rests on; it is made anew for every smaller budget
FEWEST = 40  # queries below which nothing can be chosen


def read(thief: Thief, positions: Positions) -> tuple[Tensor, tuple[Tried, ...]]:
    """Return what the outputs for queried images teach, and the responses tried, the chosen one first.

    Labels int64 [m] or probabilities float32 [m, k]. The evaluation's images take no part.
    """
    returned = thief.answer(positions)
    if returned.ndim == 1:
        return returned, ()
    outputs = returned.double().numpy()
    names = responses.candidates(outputs, thief.settings.responses, thief.target.undefended is not None)
    tried: tuple[Tried, ...] = ()
    if len(names) > 1 and len(positions) >= FEWEST:
        tried = _tried(thief, positions[:MOST], outputs[:MOST], names)
    first = responses.chosen(tried) if tried else names[0]
    learned = _targets(thief, positions, outputs, first)
    return learned, tuple(sorted(tried, key=lambda one: one.response != first)) or (Tried(first, 0, 0),)


def _tried(thief: Thief, positions: Positions, outputs: Probabilities, names: tuple[str, ...]) -> tuple[Tried, ...]:
    held, rest = _parted(thief.seed, len(positions), HELD_OUT)
    classes, found = outputs[held].argmax(axis=1), []
    for name in names:
        surrogate = thief.fit(positions[rest], _targets(thief, positions[rest], outputs[rest], name))
        agreeing = int((thief.outputs(surrogate, positions[held]).predictions == classes).sum())
        found.append(Tried(name, agreeing, len(held)))
    return tuple(found)


def _targets(thief: Thief, positions: Positions, outputs: Probabilities, response: str) -> Tensor:
    return responses.targets(outputs, response, lambda: _smooth(thief, positions, outputs))


def _smooth(thief: Thief, positions: Positions, outputs: Probabilities) -> Probabilities:
    """Return what a surrogate trained on the other half of the queries predicts for each image, [m, k]."""
    halves, predicted = _parted(thief.seed + 1, len(positions), 0.5), np.empty_like(outputs)
    first = responses.LABELS if responses.is_labels(outputs) else responses.AS_RETURNED
    for own, other in (halves, halves[::-1]):
        surrogate = thief.fit(positions[other], responses.targets(outputs[other], first, lambda: outputs))
        predicted[own] = np.exp(thief.outputs(surrogate, positions[own]).log_probabilities)
    return predicted


def _parted(seed: int, count: int, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two sets of rows, each in rising order, the first a `share` of all."""
    order = np.random.default_rng((seed, 4)).permutation(count)
    first, second = np.split(order, [round(share * count)])
    return np.sort(first), np.sort(second)
