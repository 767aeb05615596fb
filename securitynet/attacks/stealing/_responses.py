"""How an attacker reads outputs that may be defended: several responses, of which held-out queries choose one.

An attacker has no test labels. Each response is tried on a part of the queries and scored by its agreement with the returned
classes on the rest. None of them knows the defence: they see outputs alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securitynet.errors import UsageError, unknown

Probabilities = NDArray[np.float64]
CERTAIN = 1 - 1e-9  # a largest probability from here on is a label
CONFIDENCE = 0.9  # mean largest probability that sharpening aims at: about what undefended classifiers return
FLAT = 0.6  # below this mean confidence, outputs look flattened
DIGITS, OFF = 3, 10  # decimals that rounding may leave; steps by which the sum of a rounded row may differ from one
SHARE = 0.5  # of the images whose outputs show a trait

AS_RETURNED, LABELS, SHARPENED = "as_returned", "labels", "sharpened"
UNROUNDED, COMPLETED, SMOOTHED = "unrounded", "completed", "smoothed"
RESPONSES = (AS_RETURNED, LABELS, SHARPENED, UNROUNDED, COMPLETED, SMOOTHED)
AUTO, ALL = "auto", "all"


@dataclass(frozen=True)
class Tried:
    """One response on the held-out queries: on `agreeing` of `n` the surrogate named the class that was returned."""

    response: str
    agreeing: int
    n: int


def checked(responses: str) -> str:
    """Return `responses`: auto, all, or the name of one. Raises UsageError with the choices."""
    if responses not in (AUTO, ALL, *RESPONSES):
        raise unknown("response", responses, [AUTO, ALL, *RESPONSES])
    return responses


def candidates(outputs: Probabilities, responses: str, defended: bool) -> tuple[str, ...]:
    """Return the responses to try on outputs [n, k], the first where nothing decides between them.

    `auto`: of outputs that look like a plain softmax, and come from no known defence, `as_returned` alone. Labels alone are
    learned as labels; smoothed is tried where the outputs may be defended.
    """
    if responses not in (AUTO, ALL):
        return (responses,)
    if is_labels(outputs):
        return (LABELS, AS_RETURNED, SMOOTHED)
    traits = {
        UNROUNDED: grid(outputs) is not None,
        COMPLETED: tied(outputs),
        SHARPENED: abs(confidence(outputs) - CONFIDENCE) > 0.02,
    }
    altered = defended or traits[UNROUNDED] or traits[COMPLETED] or confidence(outputs) < FLAT
    if responses == AUTO and not altered:
        return (AS_RETURNED,)
    return (AS_RETURNED, LABELS, *(name for name, holds in traits.items() if holds), SMOOTHED)


def targets(outputs: Probabilities, response: str, smooth: Callable[[], Probabilities]) -> Tensor:
    """Return what outputs [n, k] teach under a response: labels int64 [n], or probabilities float32 [n, k] that sum to one.

    `smooth` gives what surrogates trained on other queries predict for these, [n, k]. Raises UsageError for an unknown response.
    """
    if response == LABELS:
        return torch.from_numpy(outputs.argmax(axis=1).astype(np.int64))
    reads: dict[str, Callable[[], Probabilities]] = {
        AS_RETURNED: lambda: outputs,
        SHARPENED: lambda: sharpened(outputs),
        UNROUNDED: lambda: unrounded(outputs),
        COMPLETED: lambda: completed(outputs),
        SMOOTHED: lambda: (outputs + smooth()) / 2,
    }
    if response not in reads:
        raise UsageError(f"stealing: unknown response {response!r}")
    return torch.from_numpy(reads[response]().astype(np.float32))


def is_labels(outputs: Probabilities) -> bool:
    """Whether outputs [n, k] are certain of every image."""
    return bool((outputs.max(axis=1) >= CERTAIN).all())


def confidence(outputs: Probabilities) -> float:
    """Return the mean largest probability."""
    return float(outputs.max(axis=1).mean())


def grid(outputs: Probabilities) -> float | None:
    """Return the step between values, 10^-digits, where outputs look rounded to so many decimals; None where they do not.

    Rounded rows are scaled to sum to one, so the sum that they had, itself on the grid, is searched near one.
    """
    rows = outputs[(outputs < 1e-30).any(axis=1)]
    if len(rows) < SHARE * len(outputs):
        return None
    for step in (10.0**-digits for digits in range(DIGITS + 1)):
        fits = np.zeros(len(rows), bool)
        for off in range(-min(OFF, int(0.5 / step)), min(OFF, int(0.5 / step)) + 1):
            values = rows * (1 + off * step) / step
            fits |= (np.abs(values - np.round(values)) < 1e-3).all(axis=1) & (values.max(axis=1) > 0.5)
        if fits.mean() > 0.95:
            return step
    return None


def tied(outputs: Probabilities) -> bool:
    """Whether the small probabilities of most images are equal and not zero, as where only the largest were returned."""
    k = outputs.shape[1]
    ordered = np.sort(outputs, axis=1)
    same = (np.abs(ordered - ordered[:, :1]) <= 1e-6 * np.maximum(ordered[:, :1], 1e-12)).sum(axis=1)
    return bool(((same >= 2) & (same <= k - 2) & (ordered[:, 0] > 1e-30)).mean() > SHARE)


def sharpened(outputs: Probabilities, aim: float = CONFIDENCE) -> Probabilities:
    """Return outputs to the one power, above or below 1, that makes their mean confidence `aim`: a temperature is undone."""
    logs = np.log(np.maximum(outputs, np.finfo(np.float64).tiny))

    def powered(power: float) -> Probabilities:
        raised = np.exp(power * (logs - logs.max(axis=1, keepdims=True)))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    low, high = -5.0, 7.0  # logarithms of the power
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if confidence(powered(np.exp(middle))) < aim else (low, middle)
    return powered(float(np.exp((low + high) / 2)))


def unrounded(outputs: Probabilities) -> Probabilities:
    """Return rounded outputs with small numbers for zeros, a quarter of the step for all classes together: none is impossible."""
    step = grid(outputs) or 0.0
    filled = np.maximum(outputs, step / 4 / outputs.shape[1])
    return np.asarray(filled / filled.sum(axis=1, keepdims=True))


def completed(outputs: Probabilities) -> Probabilities:
    """Return outputs with the equal small probabilities of each image shared out anew.

    They get shares in proportion to what their classes have, on average, on images of the same largest class: similar classes
    are confused with each other.
    """
    least = outputs.min(axis=1, keepdims=True)
    hidden = np.abs(outputs - least) <= 1e-6 * np.maximum(least, 1e-12)
    top = outputs.argmax(axis=1)
    filled = outputs.copy()
    for label in np.unique(top):
        rows = np.flatnonzero(top == label)
        weights = np.where(hidden[rows], 0.0, outputs[rows]).mean(axis=0) + 1e-4 * outputs[rows].mean(axis=0)
        shares = np.where(hidden[rows], np.maximum(weights, 1e-12), 0.0)
        rest = np.where(hidden[rows], outputs[rows], 0.0).sum(axis=1, keepdims=True)
        # none above the smallest that was returned: the hidden ones are smaller
        bound = np.where(hidden[rows], np.inf, outputs[rows]).min(axis=1, keepdims=True)
        part = np.minimum(rest * shares / shares.sum(axis=1, keepdims=True), bound)
        filled[rows] = np.where(hidden[rows], part, outputs[rows])
    return np.asarray(filled / filled.sum(axis=1, keepdims=True))


def chosen(tried: tuple[Tried, ...]) -> str:
    """Return the response of the largest agreement, of equals the first."""
    return max(tried, key=lambda one: one.agreeing / max(1, one.n)).response
