"""From a detector's score to a p-value: what clean models of the same kind score.

`nulls.jsonl` holds the scores of clean models, one line per detector, its settings, dataset and number of classes, and the
covariates of networks of each such kind; the benchmark of this family measures them. A p-value of 1/(n+1) is the least that n
clean models can give by counting; beyond the largest of them the tail is taken to be exponential, its scale estimated by the
upper half of the scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.attacks.backdoor._kind import Covariates, Kind, unlike
from securitynet.data.dataset import find
from securitynet.errors import DataError
from securitynet.metrics.judgement import Judgement

FILE = "nulls.jsonl"
FEWEST = 10  # clean models, below which a line is no null
DATASETS = 3  # whose nulls at least stand in for that of another kind of model
MANY, LAW = 30, 20  # from so many classes on their own spread standardises a score, and so many clean networks give its law
FEW_CLASSES = "calibrated: no (no clean models were measured with so few classes)"
RATIOS = (  # detectors whose scores do not rest on the spread of the classes
    "backdoor/beatrix",
    "backdoor/neo",
    "backdoor/neural_cleanse",
    "backdoor/universal_permutation",
)
LARGEST = {"backdoor/neo": 1.5, "backdoor/universal_permutation": 1.0}  # scores that cannot be exceeded
SMALL = 0.02  # share of the image, below which a mask is small where no clean models' masks are known


@dataclass(frozen=True)
class Null:
    """Scores of clean models by one detector with one set of `params` (JSON), on one dataset with `classes` to `most` classes."""

    detector: str
    params: str
    dataset: str
    classes: int
    scores: tuple[float, ...]
    most: int | None = None

    def away(self, classes: int) -> float:
        """Return how far a class count lies from those of the null, as a logarithm; 0 within."""
        top = self.most or self.classes
        return max(0.0, math.log(self.classes / classes), math.log(classes / top))


@dataclass(frozen=True)
class Population:
    """Covariates of clean networks of a dataset with `classes` to `most` classes.

    `masks`: of each, or of some, the smallest trigger's share of the image. `remark`: how they relate to those with scores.
    """

    dataset: str
    classes: int
    most: int
    networks: tuple[Covariates, ...]
    masks: tuple[float, ...] = ()
    remark: str | None = None


@dataclass(frozen=True)
class Nulls:
    """Scores of clean models, and the covariates of their kind."""

    scores: tuple[Null, ...]
    populations: tuple[Population, ...] = ()

    def population(self, kind: Kind) -> Population | None:
        """Return that of a kind's dataset and class count, or None."""
        dataset = key_of(kind.dataset)
        fits = (one for one in self.populations if key_of(one.dataset) == dataset and one.classes <= kind.classes <= one.most)
        return None if dataset is None else next(fits, None)


@dataclass(frozen=True)
class Calibrated:
    """A p-value (None: no null fits), whether the null is of the model's own kind, and what it rests on."""

    p_value: float | None
    calibrated: bool
    words: str

    def elsewhere(self, why: str) -> Calibrated:
        """Return the same, not calibrated, for the reason `why`."""
        return self if self.p_value is None else replace(self, calibrated=False, words=f"calibrated: no ({why}; {self.words})")


def key_of(dataset: str | None) -> str | None:
    """Return a dataset's key in lower case, whatever alias it was given by; None for None."""
    found = find(dataset)
    return None if dataset is None else (found.key if found else dataset).casefold()


@cache
def shipped() -> Nulls:
    """Return the nulls that come with the package."""
    text = (resources.files(__package__ or __name__.rpartition(".")[0]) / FILE).read_text(encoding="utf-8")
    return parse(text.splitlines())


def read(path: Path) -> Nulls:
    """Return the nulls of a file. Raises DataError, which names it, where it cannot be read or holds none."""
    try:
        return parse(path.read_text(encoding="utf-8").splitlines(), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no file of clean models' scores ({getattr(error, 'strerror', None) or 'not text'})") from error


def parse(lines: Iterable[str], name: str = FILE) -> Nulls:
    """Return the nulls of JSON lines. Raises DataError, with the file's name and the line, for one that is no null."""
    nulls, populations = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one: dict[str, Any] = json.loads(line)
            if "networks" in one:
                own = tuple(Covariates.of(network) for network in one["networks"])
                masks = tuple(map(float, one.get("masks", ())))
                populations.append(Population(one["dataset"], one["classes"], one["most"], own, masks, one.get("remark")))
            else:
                scores = tuple(sorted(float(score) for score in one["scores"]))
                if not all(map(math.isfinite, scores)):
                    raise ValueError("a score is not finite")
                nulls.append(Null(one["detector"], one["params"], one["dataset"], int(one["classes"]), scores, one.get("most")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{name}, line {number} holds no clean models' scores: {type(error).__name__}: {str(error)[:80]}") from error
    return Nulls(tuple(nulls), tuple(populations))


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


def calibrate(detector: str, params: str, score: float, kind: Kind, nulls: Nulls | None = None) -> Calibrated:
    """Return the p-value of a detector's score on a model of `kind`.

    Calibrated where clean models of its dataset and class count were measured and its covariates lie within theirs; from 30
    classes on, where there are at least 20 of them. Otherwise clean models of at least three datasets stand in, of the nearest
    class counts, and those that give the largest p-value decide. None where there are none at all, and for a score that is not finite.
    """
    nulls = shipped() if nulls is None else nulls
    fitting = [one for one in nulls.scores if (one.detector, one.params) == (detector, params)]
    if not math.isfinite(score):
        return Calibrated(None, False, "the score is not finite")
    if not fitting:
        return Calibrated(None, False, "no clean models were measured with these settings")
    dataset = key_of(kind.dataset)
    own = next((one for one in fitting if dataset is not None and key_of(one.dataset) == dataset and not one.away(kind.classes)), None)
    why = "no clean models of this dataset and class count" if own is None else _unfit(own, kind, nulls.population(kind))
    if own is not None and why is None:
        return Calibrated(tail(score, own.scores), True, f"{len(own.scores)} clean models on {own.dataset}, {_counted(own)} classes")
    found = [(for_classes(tail(score, one.scores), one.most or one.classes, kind.classes), one) for one in _standing_in(fitting, kind)]
    p_value, used = max(found, key=lambda pair: pair[0])
    words = f"calibrated: no ({why}; of {len(found)} other nulls that of {used.dataset}, {_counted(used)} classes, is the widest)"
    return Calibrated(p_value, False, words)


def _standing_in(fitting: Sequence[Null], kind: Kind) -> list[Null]:
    """Return the nulls of the nearest class counts, of at least three datasets where there are so many."""
    away = sorted({one.away(kind.classes) for one in fitting})
    wide = [[one for one in fitting if one.away(kind.classes) <= distance + 1e-9] for distance in away]
    return next((found for found in wide if len({key_of(one.dataset) for one in found}) >= DATASETS), wide[-1])


def _unfit(null: Null, kind: Kind, population: Population | None) -> str | None:
    """Say why the null of its dataset and class count does not fit a model; None where it does."""
    if kind.classes >= MANY and len(null.scores) < LAW:
        return f"fewer than {LAW} clean models of {MANY} classes and more"
    if kind.covariates is None:
        return "what kind of model it is was not measured"
    if population is None or len(population.networks) < FEWEST:
        return f"of fewer than {FEWEST} of its clean models covariates are known"
    other = unlike(kind.covariates, population.networks)
    return f"unlike the clean models on {null.dataset} in {', '.join(other)}" if other else None


def _counted(null: Null) -> str:
    return str(null.classes) if null.most in (None, null.classes) else f"{null.classes} to {null.most}"


def shares(weights: Mapping[str, float], kind: Kind, params: Mapping[str, str], nulls: Nulls | None = None) -> dict[str, float]:
    """Return weights that sum to one, of those tests alone that can flag a model of `kind` by themselves.

    A score that cannot exceed a bound has a least p-value; where that is above the level even with the whole of its share, the
    share goes to the others. So does that of a stage without a null of the model's own kind, where others have one. It depends
    on the nulls and the model's kind, not on its scores.
    """
    own = {name for name in weights if calibrate(name, params[name], 0.0, kind, nulls).calibrated}
    able = {name: weight for name, weight in weights.items() if not own or name in own}
    for name, most in LARGEST.items():
        if name in able and len(able) > 1:
            found = calibrate(name, params[name], most, kind, nulls)
            least = None if found.p_value is None else found.p_value * sum(weights.values()) / weights[name]
            if not Judgement.at(least, found.calibrated, confirmed=True).flagged:
                del able[name]
    total = sum(able.values())
    return {name: weight / total for name, weight in able.items()}


def small_mask(kind: Kind, nulls: Nulls | None = None) -> float:
    """Return the share of the image below which a trigger is smaller than clean models have them: half of their smallest."""
    population = (shipped() if nulls is None else nulls).population(kind)
    return min(population.masks) / 2 if population and population.masks else SMALL


def combined(p_values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Return one p-value for several tests of one model: the smallest p / weight, at most 1, however the tests depend on each other.

    Bonferroni's correction; `weights` (None: all equal) sum to at most one, those of tests that were planned and not run included.
    """
    shares = weights or [1 / max(1, len(p_values))] * len(p_values)
    return min([1.0, *(p_value / share for p_value, share in zip(p_values, shares, strict=True))])
