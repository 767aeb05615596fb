"""Drawings of the page: curves and strips end where they must."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_rows import stealing

from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.metrics import membership
from securitynet.report.findings.hypotheses import outcomes
from securitynet.report.measure_table import measure_table, titles_of
from securitynet.report.page.detections import detections
from securitynet.report.page.drawings import roc_drawing, strip_drawing
from securitynet.report.page.number_tables import NumberCell, tables
from securitynet.report.page.stealing_charts import stealing_charts
from securitynet.report.saved_result import SavedResult
from securitynet.results.curves import by_budget
from securitynet.results.evidence import Scored
from securitynet.results.row import Row


def test_roc_drawing_ends_where_it_must() -> None:
    rng = np.random.default_rng(0)
    none = np.empty(0, np.int64)
    attacks = [
        (f"a{number}", Scored("a", "{}", "a", rng.normal(number / 4, 1, 500), rng.normal(size=400), none, none)) for number in range(10)
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


def test_stealing_curves_run_over_their_budgets() -> None:
    (chart,) = stealing_charts(stealing(10_000), 0.95)
    agreement, control = chart.curves
    assert [mark.x for mark in agreement.marks] == [58, 478] and [word for _, word in chart.x_ticks] == ["100", "10,000"]
    assert agreement.marks[0].y > control.marks[1].y > agreement.marks[1].y > (chart.level or 0), "higher is smaller"
    assert agreement.marks[0].interval is None
    assert agreement.marks[1].tip.endswith("10,000 queries: 90.00% (95 % interval 88.00% to 92.00%)")
    low, high = agreement.marks[1].interval or (0, 0)
    assert low > agreement.marks[1].y > high and agreement.path == f"M58.0 {agreement.marks[0].y}L478.0 {agreement.marks[1].y}"
    assert "agrees with the model on 90.0% of the images, more than the best control" in chart.words and "+5.0 points" in chart.words
    published = [replace(row, budget=None, origin="zhang2024") for row in stealing() if row.metric in ("agreement", "kl")]
    assert stealing_charts(published, None) == [], "the released rows have no budget"


def test_what_is_not_more_than_the_control_is_not_called_so() -> None:
    rows = [replace(row, ci_low=-0.01) if row.metric == "excess_agreement" else row for row in stealing()]
    (chart,) = stealing_charts(rows, None)
    assert "not shown to be more" in chart.words and chart.level is None


def test_budgets_among_the_hyper_parameters_make_one_curve() -> None:
    """Also where each budget is an attack of its own."""
    rows = [
        Row(attack="stealing/own", params=json.dumps({"budget": budget, "lr": 0.1}), metric="agreement", value=budget / 1000)
        for budget in (800, 200, 400)
    ]
    (chart,) = stealing_charts(rows, None)
    assert [mark.x for mark in chart.curves[0].marks] == [58, 268, 478] and list(by_budget(rows)) == [200, 400, 800]


def test_every_budget_has_a_line_and_every_attack_a_price() -> None:
    rows = [replace(row, queries=1000, seconds=12.5, peak_memory=3 * 2**20) for row in stealing()]
    curve, rest, price = tables({"knockoff": rows})
    assert [(label, cells[0].text, cells[1].text) for label, cells in curve.lines] == [
        ("knockoff, 100 queries", "0.6000", "0.0200"), ("knockoff, 1,000 queries", "0.9000", "0.0500")
    ]  # fmt: skip
    assert [cells[0].text for _, cells in rest.lines] == ["agreement of the control", "images seen"]
    assert price.lines == (("knockoff", (NumberCell("1,000"), NumberCell("12.50"), NumberCell("3 MiB"))),)


def saved(folder: Path, **arrays: Any) -> SavedResult:
    """A detector's result: class 2 of 4 has a small opaque trigger."""
    common = {"entry": "own/a", "dataset": "d", "family": "backdoor", "attack": "backdoor/x"}
    rows = tuple(Row(**common, metric=name, value=value) for name, value in (("target_class", 2.0), ("flagged", 1.0), ("p_value", 0.01)))
    (folder / "evidence").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "evidence" / "x.npz", attack="backdoor/x", params="{}", **arrays)
    return SavedResult(folder, Entry(id="own/a", backdoor="badnets", backdoor_target=2), rows, {}, {})


def test_recovered_triggers_are_pictures(tmp_path: Path) -> None:
    masks, patterns = np.full((2, 1, 8, 8), 0.3), np.zeros((2, 3, 8, 8))
    masks[1], masks[1, :, 6:, 6:], patterns[1, 0] = 0, 1, 1  # red, in the lower right corner
    statistics = np.asarray([1.0, 1.2, 9.0, np.nan])
    (one,) = detections(saved(tmp_path, statistics=statistics, classes=np.asarray([0, 2]), masks=masks, patterns=patterns))
    assert one.words == "looks backdoored (p 0.01); the likeliest target is class 2; planted: badnets, to class 2"
    assert one.strip is not None and "higher than 2 of 2 other classes" in one.strip.words
    assert [picture.title for picture in one.pictures] == ["class 2: mask of 4.0 pixels", "class 0: mask of 19.2 pixels"]
    image = Image.open(io.BytesIO(base64.b64decode(one.pictures[0].trigger.partition(",")[2])))
    assert image.size == (128, 128) and image.getpixel((127, 127)) == (255, 0, 0) and image.getpixel((0, 0)) == (128, 128, 128)
    mask = Image.open(io.BytesIO(base64.b64decode(one.pictures[0].mask.partition(",")[2])))
    assert mask.mode == "L" and mask.getpixel((95, 96)) == 0 and mask.getpixel((96, 96)) == 255


def test_triggers_that_do_not_fit_are_one_error(tmp_path: Path) -> None:
    arrays = {"statistics": np.ones(4), "classes": np.arange(2), "masks": np.ones((2, 1, 8, 8)), "patterns": np.ones((2, 3, 9, 8))}
    with pytest.raises(UsageError, match="do not fit together"):
        detections(saved(tmp_path, **arrays))
    (bare,) = detections(saved(tmp_path, statistics=np.ones(1)))
    assert bare.strip is None and bare.pictures == ()


def test_columns_are_named_by_what_differs() -> None:
    base = {"preset": "base", "budgets": [10, 20], "settings": {"answers": "labels", "recipe": {"lr": 0.1}}}
    soft = {**base, "settings": {"answers": "probabilities", "recipe": {"lr": 0.1}}}
    measures = [f"stealing/knockoff{json.dumps(params)}:agreement" for params in (base, soft)]
    assert titles_of(measures[:1]) == ["stealing agreement"]
    assert titles_of(measures) == ["stealing agreement (settings answers labels)", "stealing agreement (settings answers probabilities)"]


def test_controls_costs_and_smaller_budgets_are_no_outcomes() -> None:
    """Each would be one more test to correct for."""
    table = measure_table([*stealing(), Row(entry="own/a", dataset="d", attack="membership/loss", metric="tpr_at_fpr_0.01", value=0.1)], {})
    assert [name.rpartition(":")[2] for name in outcomes(table)] == [
        "agreement",
        "kl",
        "excess_agreement",
        "tpr_at_fpr_0.01",
    ]
