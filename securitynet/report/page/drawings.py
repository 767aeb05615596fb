"""Drawings of a page as numbers: ROC curves on logarithmic axes and strips of dots; the template turns them into SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from securitynet.metrics import membership as metrics
from securitynet.metrics.bands import roc_band
from securitynet.report.figures.roc import COLOURS, PER_DECADE
from securitynet.results.evidence import Scored

WIDTH, HEIGHT, LEFT, TOP = 420, 300, 58, 12  # of the ROC's field and its place, in units of the SVG
DASHES = ("", "7 3", "2 2", "7 3 2 3")
MOST_CURVES = 8
BAND_POINTS = 60  # of the band's edge
STRIP, JITTER = 640, 34


@dataclass(frozen=True)
class RocLine:
    """One curve: what it is called, its numbers as text, its points as an SVG path, how it is drawn.

    `band` is the path around what holds the whole curve with 95 % confidence (bands.roc_band), each curve for itself.
    """

    label: str
    numbers: str
    path: str
    colour: str
    dash: str
    band: str = ""


@dataclass(frozen=True)
class Roc:
    """ROC curves with the ticks of both axes (position, word), the line of chance, and how many attacks were left out."""

    lines: tuple[RocLine, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    chance: str
    left_out: int


def roc_drawing(evidence: Sequence[tuple[str, Scored]]) -> Roc | None:
    """Return the ROC curves of labelled evidence, those with the highest AUC; None where there is none."""
    usable = [(label, one) for label, one in evidence if min(len(one.members), len(one.non_members)) > 1]
    areas = [(metrics.auc(one.members, one.non_members).value or 0.0, label, one) for label, one in usable]
    best = sorted(areas, key=lambda item: -item[0])[:MOST_CURVES]
    if not best:
        return None
    floors = min(1 / len(one.non_members) for *_, one in best), min(1 / len(one.members) for *_, one in best)
    lines = []
    for number, (area, label, one) in enumerate(best):
        fpr, tpr, _ = metrics.roc(one.members, one.non_members)
        low = metrics.tpr_at_fpr(one.members, one.non_members, 0.01).value
        words = f"AUC {area:.3f}" + (f", TPR {low:.1%} at 1 % FPR" if low is not None else "")
        colour = COLOURS[number % len(COLOURS)].replace("#000000", "currentColor")
        band = _band(one.members, one.non_members, floors)
        lines.append(RocLine(label, words, _steps(fpr, tpr, floors), colour, DASHES[number // len(COLOURS)], band))
    start = min(1.0, max(floors))
    ends = _place(start, floors[0], WIDTH, LEFT), _up(start, floors[1]), _place(1, floors[0], WIDTH, LEFT), _up(1, floors[1])
    x_ticks = tuple((_place(10.0**power, floors[0], WIDTH, LEFT), f"{100 * 10.0**power:g} %") for power in _decades(floors[0]))
    y_ticks = tuple((_up(10.0**power, floors[1]), f"{100 * 10.0**power:g} %") for power in _decades(floors[1]))
    return Roc(tuple(lines), x_ticks, y_ticks, "M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*ends), len(areas) - len(best))


def _band(members: np.ndarray, non_members: np.ndarray, floors: tuple[float, float]) -> str:
    """Return the closed path around the band of a curve, on rates that lie evenly on the axis."""
    rates = np.geomspace(floors[0], 1.0, BAND_POINTS) if floors[0] < 1 else np.ones(1)
    low, high = roc_band(np.asarray(members, float), np.asarray(non_members, float), rates)
    across = [_place(float(rate), floors[0], WIDTH, LEFT) for rate in rates]
    upper = [f"{x} {_up(float(y), floors[1])}" for x, y in zip(across, high, strict=True)]
    lower = [f"{x} {_up(float(y), floors[1])}" for x, y in zip(across, low, strict=True)]
    return f"M{'L'.join([*upper, *reversed(lower)])}Z"


def _decades(floor: float) -> range:
    return range(int(np.ceil(np.log10(floor) - 1e-9)), 1)


def _place(rate: float, floor: float, length: float, start: float) -> float:
    return round(start + length * (1 - np.log10(max(rate, floor)) / np.log10(floor)), 1) if floor < 1 else start


def _up(rate: float, floor: float) -> float:
    return round(2 * TOP + HEIGHT - _place(rate, floor, HEIGHT, TOP), 1)


def _steps(fpr: np.ndarray, tpr: np.ndarray, floors: tuple[float, float]) -> str:
    """Return the path of the points that differ on paper, steps between them."""
    cells = [np.rint(PER_DECADE / 4 * np.log10(np.maximum(rate, low))) for rate, low in zip((fpr, tpr), floors, strict=True)]
    kept = np.append(True, (np.diff(cells[0]) != 0) | (np.diff(cells[1]) != 0))
    kept[-1] = True
    path = ""
    for x, y in zip(fpr[kept], tpr[kept], strict=True):
        across, height = _place(float(x), floors[0], WIDTH, LEFT), _up(float(y), floors[1])
        path += f"H{across}V{height}" if path else f"M{across} {height}"
    return path


@dataclass(frozen=True)
class Dot:
    """One model on a strip."""

    x: float
    y: float
    name: str
    value: str


@dataclass(frozen=True)
class DotStrip:
    """Where one number stands among those of other models: dots, one's own place with its interval, ticks, and the place as text."""

    title: str
    words: str
    dots: tuple[Dot, ...]
    mine: Dot
    interval: tuple[float, float] | None
    ticks: tuple[tuple[float, str], ...]


def strip_drawing(title: str, mine: tuple[str, float, float | None, float | None], others: Mapping[str, float], whom: str) -> DotStrip:
    """Return the strip of `mine` (name, value, low, high) among `others` by name; `whom` describes them."""
    name, value, low, high = mine
    numbers = [value, *others.values(), *(end for end in (low, high) if end is not None)]
    edge = nice(min(numbers), max(numbers))

    def across(number: float) -> float:
        return round(10 + STRIP * (number - edge[0]) / (edge[-1] - edge[0]), 1)

    dots = tuple(Dot(across(number), 10 + _jitter(place), other, f"{number:.4f}") for place, (other, number) in enumerate(others.items()))
    below = sum(number < value for number in others.values())
    words = f"{value:.4f}: higher than {below} of {len(others)} {whom}"
    interval = (across(low), across(high)) if low is not None and high is not None else None
    ticks = tuple((across(number), f"{number:.4g}") for number in edge)
    return DotStrip(title, words, dots, Dot(across(value), 10 + JITTER / 2, name, f"{value:.4f}"), interval, ticks)


def _jitter(position: int) -> float:
    """Return a height that spreads dots evenly and is the same every time."""
    return round(JITTER * ((position * 0.618034) % 1.0), 1)


def nice(low: float, high: float) -> list[float]:
    """Return round numbers, in order, that enclose low and high: the ticks of an axis."""
    spread = max(high - low, 1e-6 * max(abs(low), abs(high), 1))
    step = 10.0 ** np.floor(np.log10(spread))
    step = next((part * step for part in (0.2, 0.5, 1.0) if spread / (part * step) <= 6), 2 * step)
    first, last = np.floor(low / step), np.ceil(high / step)
    return [float(round(number * step, 12)) for number in np.arange(first, max(last, first + 1) + 1)]
