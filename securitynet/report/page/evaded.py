"""What attacks with adversarial images found, for a page: robust accuracy over epsilon, and attacked images beside the clean ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np

from securitynet.errors import UsageError
from securitynet.metrics.vocabulary import CLEAN_ACCURACY, ROBUST_ACCURACY, TEST_ACCURACY
from securitynet.report.figures.roc import COLOURS
from securitynet.report.page.detections import address
from securitynet.report.page.drawings import HEIGHT, LEFT, TOP, WIDTH
from securitynet.report.page.stealing_charts import Chart, ChartCurve, ChartMark
from securitynet.threat import in_levels, named

if TYPE_CHECKING:
    from securitynet.report.saved_result import SavedResult
    from securitynet.results.row import Row

FAMILY = "evasion"
SHOWN = 6
ARRAYS = ("example_clean", "example_attacked", "example_labels", "example_logits", "example_attacked_logits")


@dataclass(frozen=True)
class Pair:
    """An image as it is, attacked, and their difference, as addresses that hold the pictures, with the model's outputs in words."""

    clean: str
    attacked: str
    difference: str
    before: str
    after: str


@dataclass(frozen=True)
class Evaded:
    """One attack: its outcome in words, and a few images that it fooled the model with."""

    title: str
    words: str
    pairs: tuple[Pair, ...]


def evaded(saved: SavedResult) -> list[Evaded]:
    """Return the attacks of a saved result that have examples. Raises UsageError where their arrays do not fit together."""
    evidence = saved.arrays(*ARRAYS)
    found = []
    for label, rows in saved.labelled().items():
        key = (rows[0].attack, rows[0].params)
        if rows[0].family == FAMILY and key in evidence:
            found.append(Evaded(f"Evasion: {label.partition('/')[2]}", _words(rows), tuple(_pairs(evidence[key], saved))))
    return found


def evasion_charts(saved: SavedResult) -> list[Chart]:
    """Return a chart per attack that has robust accuracy at several epsilons."""
    charts = []
    for label, rows in saved.labelled().items():
        points = {row.epsilon: row for row in rows if row.metric == ROBUST_ACCURACY and row.epsilon and row.value is not None}
        if rows[0].family == FAMILY and len(points) > 1:
            clean = saved.row(f"verify:{TEST_ACCURACY}")
            charts.append(_chart(label, dict(sorted(points.items())), None if clean is None else clean.value))
    return charts


def _chart(label: str, points: Mapping[float, Row], clean: float | None) -> Chart:
    first, *_, last = points
    norm = next(iter(points.values())).norm or ""
    across = {one: round(LEFT + WIDTH * log(one / first) / log(last / first), 1) for one in points}
    marks = []
    for epsilon, row in points.items():
        ends = None if row.ci_low is None or row.ci_high is None else (_up(row.ci_low), _up(row.ci_high))
        told = "" if row.ci_low is None or row.ci_high is None else f" (95 % interval {row.ci_low:.2%} to {row.ci_high:.2%})"
        tip = f"robust accuracy at {named(row.norm, epsilon)}: {row.value or 0.0:.2%}{told}"
        marks.append(ChartMark(across[epsilon], _up(row.value or 0.0), ends, tip))
    curve = ChartCurve("robust accuracy", "M" + "L".join(f"{mark.x} {mark.y}" for mark in marks), COLOURS[0], "none", tuple(marks))
    ticks = tuple((place, in_levels(norm, epsilon)) for epsilon, place in across.items())
    heights = tuple((_up(share), f"{100 * share:g} %") for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    words = f"Robust accuracy over epsilon in {norm}, by the smallest perturbations that were found: the true curve lies below."
    level = None if clean is None else _up(clean)
    return Chart(f"Robustness curve: {label.partition('/')[2]}", words, (curve,), ticks, heights, level, f"epsilon ({norm})")


def _up(share: float) -> float:
    return round(TOP + HEIGHT * (1 - share), 1)


def _words(rows: list[Row]) -> str:
    shares = {row.metric: row for row in rows if row.value is not None and row.metric in (ROBUST_ACCURACY, CLEAN_ACCURACY)}
    said = []
    for metric, words in ((CLEAN_ACCURACY, "are classified rightly as they are"), (ROBUST_ACCURACY, "under attack")):
        if (row := shares.get(metric)) is not None:
            threat = f" ({named(row.norm, row.epsilon)})" if row.norm else ""
            said.append(f"{row.value:.1%} of {row.n} images {words}{threat}")
    doubt = next((f"In doubt: {row.reason}" for row in rows if row.status == "suspect"), None)
    return "; ".join(said) + "." + (f" {doubt}." if doubt else "")


def _pairs(arrays: Mapping[str, np.ndarray], saved: SavedResult) -> list[Pair]:
    clean, attacked, labels, before, after = (np.asarray(arrays[name]) for name in ARRAYS)
    fits = clean.ndim == 4 and clean.shape == attacked.shape and clean.shape[1] in (1, 3) and before.shape == after.shape
    if not fits or before.ndim != 2 or not len(clean) == len(labels) == len(before):
        raise UsageError(f"{saved.folder}: attacked images do not fit together: {clean.shape} and {attacked.shape}")
    found = []
    for one, other, label, old, new in zip(clean, attacked, labels, before, after, strict=True):
        change = other - one
        scale = float(np.abs(change).max()) or 1.0
        shown = (address(one), address(other), address(0.5 + change / (2 * scale)))
        found.append(Pair(*shown, f"label {label}: {_outputs(old)}", _outputs(new)))
    return found[:SHOWN]


def _outputs(logits: np.ndarray) -> str:
    """The class with the largest logit, and the logits of the first two."""
    first, *rest = np.argsort(-logits, kind="stable")[:2]
    second = f", class {rest[0]} {logits[rest[0]]:.2f}" if rest else ""
    return f"class {first} {logits[first]:.2f}{second}"
