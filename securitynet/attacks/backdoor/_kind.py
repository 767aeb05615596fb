"""What kind of model it is, and whether it is of the kind that clean models were measured of. Measured in _covariates."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

WIDENED = {"accuracy": 0.4, "scale": 0.3, "boundary": 0.3, "depth": 0.3}  # least widening: of a logit, of a natural logarithm
SPARSE = 0.05  # share of zero weights more than in any of the others


@dataclass(frozen=True)
class Covariates:
    """Measured facts of one model.

    `accuracy` on clean images; `scale`, how far the other classes' logits lie below the answer's on average; `boundary`, the
    median distance of images to another answer, root mean square per pixel, by steps along the linearised margin (DeepFool,
    Moosavi-Dezfooli et al. 2016, towards the nearest rival only); `depth`, convolutions and linear layers; `zeros`, the share
    of their weights that is zero; `distinct`, different values among (at most 65,536) weights of the largest layer.
    """

    accuracy: float
    scale: float
    boundary: float
    depth: int
    zeros: float
    distinct: int
    input_size: tuple[int, ...]

    @classmethod
    def of(cls, record: dict[str, Any]) -> Covariates:
        """Return the covariates of a JSON record."""
        return cls(**{**record, "input_size": tuple(record["input_size"])})

    @property
    def record(self) -> dict[str, Any]:
        """A JSON record, four digits."""
        return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Kind:
    """What decides which null fits: `dataset` (key or alias; None: not the model's own images), `classes`, and the covariates."""

    dataset: str | None
    classes: int
    covariates: Covariates | None = None


def unlike(own: Covariates, others: tuple[Covariates, ...]) -> tuple[str, ...]:
    """Return the names of the covariates in which a model lies outside the range of others.

    The range is from the smallest to the largest, widened by half of itself on each side, or by a little where they agree: of 20
    normal draws it then reaches 3.7 deviations. Accuracies are compared as logits; scale, boundary, depth as logarithms.
    """
    found = [] if own.input_size in {one.input_size for one in others} else ["input_size"]
    for name, least in WIDENED.items():
        values = [_compared(name, getattr(one, name)) for one in others]
        low, high = min(values), max(values)
        more = max(least, (high - low) / 2)
        if not low - more <= _compared(name, getattr(own, name)) <= high + more:
            found.append(name)
    if own.zeros > max(one.zeros for one in others) + SPARSE:
        found.append("zeros")
    if own.distinct < min(one.distinct for one in others) / 2:
        found.append("distinct")
    return tuple(found)


def _compared(name: str, value: float) -> float:
    if not math.isfinite(value):
        return math.inf
    if name == "accuracy":
        share = min(max(value, 0.01), 0.99)  # of 256 images one or two decide beyond
        return math.log(share / (1 - share))
    return math.log(max(value, 1e-9))
