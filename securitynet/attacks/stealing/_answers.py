"""What an attacker learns from one answer: probabilities, the k largest of them, rounded ones, or the class alone."""

from __future__ import annotations

import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securitynet.errors import UsageError
from securitynet.outputs import completed as completed  # said twice: others take it from here

FORMS = "probabilities, top-K, rounded-D (to D digits) or labels"
FORM = re.compile(r"probabilities|labels|top-(?P<top>[1-9]\d*)|rounded-(?P<digits>\d+)")


def checked(form: str) -> str:
    """Return `form`. Raises UsageError where it is none of FORMS."""
    if FORM.fullmatch(form) is None:
        raise UsageError(f"stealing: unknown form of answers {form!r}; known: {FORMS}")
    return form


def learnt(log_probabilities: NDArray[np.float64], form: str) -> Tensor:
    """Return what the answers [n, k] teach in that form: labels int64 [n], else float32 [n, k] that sum to one.

    Of the K largest, the rest to one is spread evenly over the other classes, as an attacker would who knows nothing better;
    rounded ones are scaled (to the uniform distribution where rounding leaves nothing), which keeps the order of the classes.
    """
    match = FORM.fullmatch(checked(form))
    assert match is not None
    if form == "labels":
        return torch.from_numpy(log_probabilities.argmax(axis=1).astype(np.int64))
    told = np.exp(log_probabilities)
    if match["top"]:
        told = _largest(told, int(match["top"]))
    if match["digits"]:
        told = np.round(told, int(match["digits"]))
        told[~told.any(axis=1)] = 1.0
        told /= told.sum(axis=1, keepdims=True)
    return torch.from_numpy(completed(told).astype(np.float32))


def _largest(probabilities: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Keep the `count` largest of each row, zero elsewhere; of equals the first."""
    kept = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    told = np.zeros_like(probabilities)
    np.put_along_axis(told, kept, np.take_along_axis(probabilities, kept, axis=1), axis=1)
    return told
