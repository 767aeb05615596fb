"""The place of a model among the public ones of its dataset: what it leaks beyond what its accuracy and overfitting go along with.

The regression is of ranks: among n published models of one dataset and purpose, each of test accuracy, overfitting level and AUC
becomes its rank over n, and the rank of the AUC is fitted by least squares on the other two (Iman and Conover 1979, rank
regression). The residual is the model's own rank, by the same models, minus the fitted one: +0.3 says that 30 % more of the models
leak less than it than its accuracy and overfitting suggest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from securitynet.data.dataset import find
from securitynet.entry import Entry
from securitynet.metrics.vocabulary import AUC, OVERFIT_GAP, TEST_ACCURACY
from securitynet.report.measure_table import GAP, TEST, MeasureTable, measure_table
from securitynet.report.page.drawings import nice
from securitynet.results.row import Row

Floats = NDArray[np.float64]
FEWEST, RESAMPLES = 20, 1000
ATTACK = "membership/modified_entropy"  # published for all; correctness is 0.5 + overfitting level / 2 by definition
MEASURE = f"{ATTACK}:{AUC}"
WIDTH, LEFT, LANE = 560.0, 100.0, 40.0  # of the picture, in units of the SVG


@dataclass(frozen=True)
class Place:
    """Residual with its 95 % interval among `n` models of a `purpose`; `lower` of them leak less. Without a residual, `reason` says why."""

    purpose: str
    n: int
    lower: int
    residual: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def words(self) -> str:
        """One sentence."""
        said = f"leaks more than {self.lower} of {self.n} public {self.purpose} models"
        if self.residual is None or self.low is None or self.high is None:
            return f"{said}; no residual: {self.reason}"
        clear = "more than" if self.low > 0 else "less than" if self.high < 0 else "about as much as"
        numbers = f"residual rank {self.residual:+.2f}, 95 % interval {self.low:+.2f} to {self.high:+.2f}"
        return f"{said}, {clear} its accuracy and overfitting suggest ({numbers})"


@dataclass(frozen=True)
class Mark:
    """A public model in the picture."""

    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Lane:
    """The public models of one purpose, in the picture."""

    purpose: str
    y: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Picture:
    """The AUC of a model among public ones: lanes by purpose, its own place `x` with the ends of its interval, ticks."""

    lanes: tuple[Lane, ...]
    x: float
    ends: tuple[float, float] | None
    chance: float | None
    ticks: tuple[tuple[float, str], ...]
    words: str

    @property
    def height(self) -> float:
        """In units of the SVG."""
        return LANE * len(self.lanes)


@dataclass(frozen=True)
class Places:
    """The places by purpose with their picture; `reason`: why there are none."""

    dataset: str | None
    places: tuple[Place, ...] = ()
    picture: Picture | None = None
    reason: str | None = None
    auc: float | None = None
    note: str | None = None
    trend: dict[str, float] = field(default_factory=dict)

    @property
    def caption(self) -> str:
        """What the picture shows, and the place in short."""
        counts = ", ".join(f"{one.lower} of {one.n} {one.purpose} models" for one in self.places)
        return f"AUC of modified entropy; further right leaks more. Large dot: this model with its 95 % interval. {counts} leak less."


def places(rows: Sequence[Row], entry: Entry, seed: int = 0) -> Places:
    """Return the place of a model among published measurements of its dataset."""
    own = {row.metric: row for row in rows if row.attack == "verify" and row.value is not None and row.status == "ok"}
    row = next((row for row in rows if row.attack == ATTACK and row.metric == AUC and row.scope != "half" and row.value is not None), None)
    dataset = row.dataset if row is not None else entry.dataset
    record = find(dataset)
    if record is None:
        return Places(dataset, reason="no published measurements: the images are no public dataset")
    if row is None or row.status != "ok":
        why = "its AUC does not count" if row is not None else "modified entropy was not measured"
        return Places(record.key, reason=f"{why}, which is what is published of other models")
    table = _published(record.key, {row.entry, entry.id, entry.same_weights_as or ""})
    groups = {str(key): lines for key, lines in table.frame.groupby("purpose")} if len(table.frame) else {}
    if not groups:
        return Places(record.key, reason=f"no measurements of other models on {record.key} are published")
    accuracy, gap = own.get(TEST_ACCURACY), own.get(OVERFIT_GAP)
    found, points = [], {}
    for purpose, lines in groups.items():
        columns = [lines[name].to_numpy(float) for name in (TEST, GAP, MEASURE)]
        points[purpose] = list(zip(lines["entry"], columns[2], strict=True))
        found.append(_place(purpose, columns, (accuracy, gap, row), seed))
    trend = {name: float(stats.spearmanr(lines[GAP], lines[MEASURE]).statistic) for name, lines in groups.items() if len(lines) >= FEWEST}
    others = set(table.frame["origin"])
    note = None if row.origin in others else "measured here by the same definition; theirs by the authors of the study of 2024"
    return Places(record.key, tuple(found), _picture(row, points), None, row.value, note, trend)


def _published(dataset: str, own: set[str]) -> MeasureTable:
    """The published measurements of a dataset that have all three numbers, without the model's own."""
    from securitynet import catalog

    table = measure_table(Row.from_record(record) for record in catalog.results(dataset)).without()
    if not {TEST, GAP, MEASURE} <= set(table.measures):
        return replace(table, frame=table.frame.iloc[:0])
    frame = table.frame
    whole = frame[frame[[TEST, GAP, MEASURE]].notna().all(axis=1) & ~frame["entry"].isin(own)]
    return replace(table, frame=whole)


def _place(purpose: str, columns: list[Floats], own: tuple[Row | None, Row | None, Row], seed: int) -> Place:
    accuracy, gap, leak = own
    n, value = len(columns[2]), float(leak.value or 0.0)
    lower = int((columns[2] < value).sum())
    if n < FEWEST:
        return Place(purpose, n, lower, reason=f"{n} models are published, {FEWEST} are needed")
    if accuracy is None or accuracy.value is None or gap is None or gap.value is None:
        return Place(purpose, n, lower, reason="its test accuracy or overfitting level was not measured")
    mine = np.asarray([accuracy.value, gap.value, value])
    error = 0.0 if leak.ci_low is None or leak.ci_high is None else (leak.ci_high - leak.ci_low) / (2 * 1.96)
    matrix = np.column_stack(columns)
    residual = rank_residual(matrix, mine)
    rng = np.random.default_rng(seed)
    own_error = np.asarray([0.0, 0.0, error])
    drawn = [rank_residual(matrix[rng.integers(n, size=n)], mine + own_error * rng.standard_normal()) for _ in range(RESAMPLES)]
    return Place(purpose, n, lower, residual, *interval(drawn, n))


def interval(drawn: Sequence[float], n: int) -> tuple[float, float]:
    """Return the percentile interval of resamples, wider about their median by what n models and three coefficients lack.

    The factor is Student's quantile over the normal one times sqrt(n / (n - 3)): 1.17 for 20 models, where the plain interval is too short.
    """
    low, middle, high = np.quantile(drawn, (0.025, 0.5, 0.975))
    factor = stats.t.isf(0.025, n - 3) / stats.norm.isf(0.025) * np.sqrt(n / (n - 3))
    return float(middle - factor * (middle - low)), float(middle + factor * (high - middle))


def rank_residual(models: Floats, mine: Floats) -> float:
    """Return the residual of `mine` [3] (accuracy, overfitting level, AUC) among `models` [n, 3]: see the module."""
    n = len(models)
    ranks = (stats.rankdata(models, axis=0) - 0.5) / n
    own = ((models < mine).sum(axis=0) + 0.5 * (models == mine).sum(axis=0)) / n
    design = np.column_stack([np.ones(n), ranks[:, :2]])
    beta, *_ = np.linalg.lstsq(design, ranks[:, 2], rcond=None)
    return float(own[2] - np.concatenate([[1.0], own[:2]]) @ beta)


def _picture(row: Row, points: dict[str, list[tuple[str, float]]]) -> Picture:
    value = float(row.value or 0.0)
    numbers = [value, *(end for end in (row.ci_low, row.ci_high) if end is not None), *(auc for lane in points.values() for _, auc in lane)]
    edge = nice(min(numbers), max(numbers))

    def across(number: float) -> float:
        return round(LEFT + WIDTH * (number - edge[0]) / (edge[-1] - edge[0]), 1)

    lanes = []
    for number, (purpose, found) in enumerate(sorted(points.items())):
        top = number * LANE
        marks = tuple(
            Mark(across(auc), round(top + 6 + (LANE - 12) * ((place * 0.618034) % 1.0), 1), f"{name}: AUC {auc:.3f}")
            for place, (name, auc) in enumerate(found)
        )  # fmt: skip
        lanes.append(Lane(purpose, top + LANE / 2, marks))
    ends = (across(row.ci_low), across(row.ci_high)) if row.ci_low is not None and row.ci_high is not None else None
    counts = ", ".join(f"{len(found)} {purpose} models" for purpose, found in sorted(points.items()))
    words = f"AUC of modified entropy: {value:.3f}, among {counts} on {row.dataset}"
    chance = across(0.5) if edge[0] <= 0.5 <= edge[-1] else None
    return Picture(tuple(lanes), across(value), ends, chance, tuple((across(one), f"{one:.3g}") for one in edge), words)
