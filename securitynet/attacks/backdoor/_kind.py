"""What kind of model it is, and whether it is of the kind that clean models were measured of. Measured in _covariates."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]
FAR = 1e6
LEAST = {"accuracy": 0.4, "scale": 0.3, "boundary": 0.3}  # units at least: of a logit, of natural logarithms
ALLOWED, MOST = 2.0, 0.9  # times the distance of one network from the rest that so many have at most
DEEPER = 1.35  # times the depths that were measured
SPARSE = 0.05  # share of zero weights more than in any of the others


@dataclass(frozen=True)
class Covariates:
    """Measured facts of one model.

    `accuracy` on clean images; `scale`, how far the other classes' logits lie below that of the predicted class on average; `boundary`, the
    median distance of images to another predicted class, root mean square per pixel, by steps along the linearised margin (DeepFool,
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
    """Return the names of the covariates in which a model is unlike all of the others.

    What differs from seed to seed (accuracy, scale, boundary) is compared with the network that is nearest: the distance is the
    largest difference in standard deviations of the others. It may be twice as large as the distance from the rest that nine in
    ten of the others have at most: twice, since the others are of a few architectures only; nine in ten, since a single odd one
    among them would let everything pass. What is chosen (input size, depth, sparse or quantised weights) must lie within their range.
    """
    found = [] if own.input_size in {one.input_size for one in others} else ["input_size"]
    rows = np.array([_compared(one) for one in others])
    units = np.maximum(rows.std(axis=0, ddof=1) if len(rows) > 1 else 0.0, list(LEAST.values()))
    apart = np.abs(_compared(own) - rows) / units
    alone = [_nearest(rows[at], np.delete(rows, at, axis=0), units) for at in range(len(rows)) if len(rows) > 1]
    tolerance = ALLOWED * (float(np.quantile(alone, MOST)) if alone else 1.0)
    if apart.max(axis=1).min() > tolerance:
        closest = apart[np.minimum(apart, tolerance).sum(axis=1).argmin()]
        found += [name for name, distance in zip(LEAST, closest, strict=True) if distance > tolerance]
    depths = [one.depth for one in others]
    if not min(depths) / DEEPER <= own.depth <= max(depths) * DEEPER:
        found.append("depth")
    if own.zeros > max(one.zeros for one in others) + SPARSE:
        found.append("zeros")
    if own.distinct < min(one.distinct for one in others) / 2:
        found.append("distinct")
    return tuple(found)


def _nearest(row: Row, rows: Row, units: Row) -> float:
    return float((np.abs(row - rows) / units).max(axis=1).min())


def _compared(one: Covariates) -> Row:
    """Accuracy as a logit (of 256 images one or two decide beyond 99 %), scale and boundary as logarithms."""
    share = min(max(one.accuracy, 0.01), 0.99)
    logs = [math.log(max(value, 1e-9)) if math.isfinite(value) else FAR for value in (one.scale, one.boundary)]
    return np.array([math.log(share / (1 - share)), *logs])
