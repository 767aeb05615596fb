"""From a detector's score to a p-value: what clean models of the same dataset and class count score.

`nulls.jsonl` holds the scores of clean models, one line per detector, its settings, dataset and number of classes; the
benchmark of this family measures them. A p-value of 1/(n+1) is the least that n clean models can give by counting; beyond the
largest of them the tail is taken to be exponential, its scale estimated by the upper half of the scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

FILE = "nulls.jsonl"
FEWEST = 10  # clean models, below which a line is no null
FEW_CLASSES = "calibrated: no (no clean models were measured with so few classes)"
RATIOS = ("backdoor/beatrix", "backdoor/neo", "backdoor/neural_cleanse")  # detectors whose scores do not rest on the spread of the classes


@dataclass(frozen=True)
class Null:
    """Scores of clean models by one detector with one set of `params` (JSON), on one dataset with `classes` classes."""

    detector: str
    params: str
    dataset: str
    classes: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Calibrated:
    """A p-value (None: no null fits), whether the null is of the model's own dataset and class count, and what it rests on."""

    p_value: float | None
    calibrated: bool
    words: str


@cache
def shipped() -> tuple[Null, ...]:
    """Return the nulls that come with the package."""
    text = (resources.files(__package__ or __name__.rpartition(".")[0]) / FILE).read_text(encoding="utf-8")
    return tuple(parse(text.splitlines()))


def parse(lines: Iterable[str]) -> list[Null]:
    """Return the nulls of JSON lines."""
    records = [json.loads(line) for line in lines if line.strip()]
    return [Null(one["detector"], one["params"], one["dataset"], one["classes"], tuple(one["scores"])) for one in records]


def tail(score: float, scores: Sequence[float]) -> float:
    """Return the chance that a further clean model scores at least `score`, given those of `scores`.

    Within the range of the scores: (1 + how many are as large) / (n + 1), which holds whatever their distribution. Beyond:
    with k scores above the median u and s the sum of their distances from it, k / (n + 1) (1 + (score - u) / s)^-k, which is
    exact where the upper half is exponential (the ratio of an exponential to a sum of k of them is Lomax) and errs on the
    side of no alarm where it falls faster, as a normal does.
    """
    sample = np.sort(np.asarray(scores, dtype=np.float64))
    n, above = len(sample), int((sample >= score).sum())
    if above or n < FEWEST:
        return (1 + above) / (n + 1)
    k = n // 2
    start = float(sample[n - k - 1])
    spread = float((sample[n - k :] - start).sum())
    if spread <= 0:
        return 1 / (n + 1)
    return min(1 / (n + 1), math.exp(math.log(k / (n + 1)) - k * math.log1p((score - start) / spread)))


def for_classes(p_value: float, measured: int, classes: int) -> float:
    """Return the p-value for a model of more classes than the null's: of k classes, each a candidate, some outlier is likelier.

    Sidak's 1 - (1 - p)^(classes / measured); fewer classes change nothing.
    """
    return p_value if classes <= measured else -math.expm1(classes / measured * math.log1p(-min(p_value, 1 - 1e-12)))


def calibrate(
    detector: str, params: str, score: float, dataset: str | None, classes: int, nulls: Sequence[Null] | None = None
) -> Calibrated:
    """Return the p-value of a detector's score on a model of `dataset` with `classes` classes.

    Where no clean models of the same dataset and class count were measured, the nearest in class count stand in, of several
    those that give the largest p-value, and `calibrated` is False. None where there are none at all, and for a score that is not finite.
    """
    nulls = shipped() if nulls is None else nulls
    fitting = [one for one in nulls if (one.detector, one.params) == (detector, params) and len(one.scores) >= FEWEST]
    if not math.isfinite(score):
        return Calibrated(None, False, "the score is not finite")
    if not fitting:
        return Calibrated(None, False, "calibrated: no (no clean models were measured with these settings)")
    for one in fitting:
        if dataset is not None and one.dataset.casefold() == dataset.casefold() and one.classes == classes:
            return Calibrated(tail(score, one.scores), True, f"{len(one.scores)} clean models on {one.dataset}, {classes} classes")
    distance = min(abs(math.log(one.classes / classes)) for one in fitting)
    nearest = [one for one in fitting if abs(math.log(one.classes / classes)) <= distance + 1e-9]
    found = [(for_classes(tail(score, one.scores), one.classes, classes), one) for one in nearest]
    p_value, used = max(found, key=lambda pair: pair[0])
    words = f"calibrated: no (nearest are {len(used.scores)} clean models on {used.dataset}, {used.classes} classes)"
    return Calibrated(p_value, False, words)


def combined(p_values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Return one p-value for several tests of one model: the smallest p / weight, at most 1, however the tests depend on each other.

    Bonferroni's correction; `weights` (None: all equal) sum to at most one, those of tests that were planned and not run included.
    """
    shares = weights or [1 / max(1, len(p_values))] * len(p_values)
    return min([1.0, *(p_value / share for p_value, share in zip(p_values, shares, strict=True))])
