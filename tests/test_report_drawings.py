"""Drawings of the page: curves and strips end where they must."""

from __future__ import annotations

import numpy as np

from securitynet.metrics import membership
from securitynet.report.drawings import roc_drawing, strip_drawing
from securitynet.report.saved import Evidence


def test_roc_drawing_ends_where_it_must() -> None:
    rng = np.random.default_rng(0)
    none = np.empty(0, np.int64)
    attacks = [
        (f"a{number}", Evidence("a", "{}", rng.normal(number / 4, 1, 500), rng.normal(size=400), none, none)) for number in range(10)
    ]
    drawn = roc_drawing(attacks)
    assert (
        drawn is not None and [line.label for line in drawn.lines] == [f"a{number}" for number in range(9, 1, -1)] and drawn.left_out == 2
    )
    area = membership.auc(attacks[9][1].members, attacks[9][1].non_members).value
    assert f"AUC {area:.3f}" in drawn.lines[0].numbers
    assert drawn.lines[0].path.endswith("H478.0V12.0") and drawn.lines[0].path.startswith("M58")
    assert roc_drawing([]) is None


def test_strip_keeps_order_and_counts() -> None:
    strip = strip_drawing("AUC", ("mine", 0.55, 0.52, 0.58), {"a": 0.5, "b": 0.6, "c": 0.54}, "models")
    places = [dot.x for dot in strip.dots]
    assert places[0] < places[2] < strip.mine.x < places[1] and "higher than 2 of 3 models" in strip.words
    assert strip.interval is not None and strip.interval[0] < strip.mine.x < strip.interval[1]
    assert all(10 <= dot.x <= 650 for dot in strip.dots)
    flat = strip_drawing("AUC", ("mine", 0.5, None, None), {"a": 0.5}, "models")
    assert 10 <= flat.mine.x <= 650
