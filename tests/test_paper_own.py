"""Claims on rows of one's own: planted effects are confirmed or refuted, what rows do not hold is not decided; command, page, coverage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_rows import HOSTILE
from scipy import stats

from securitynet.cli import main
from securitynet.report.claims import study
from securitynet.report.claims.claim import CONFIRMED, REFUTED, UNTESTED, Verdict, judged
from securitynet.report.claims.estimates import Spread, jackknife
from securitynet.report.findings import findings
from securitynet.report.findings.model_counts import counts_of
from securitynet.report.measure_table import BROKEN, known_entries, measure_table, published_rows
from securitynet.results.row import Row

BASE, MLP = '{"preset":"base"}', '{"epochs":200,"label":false,"top":%s}'
RNG = np.random.default_rng(0)


def models(dataset: str, purpose: str, count: int) -> list[str]:
    """Ids of the catalog, of as many model types as it has."""
    found: dict[str, list[str]] = {}
    for one in known_entries().values():
        if one.dataset == dataset and one.purpose == purpose and not set(BROKEN) & set(one.flags or ()):
            found.setdefault(one.paper_model_type or one.family or "", []).append(one.id)
    turns = [group[number] for number in range(count) for group in found.values() if number < len(group)]
    assert len(turns) >= count
    return turns[:count]


def rows(ids: Sequence[str], dataset: str, values: Mapping[tuple[str, str, str], np.ndarray], **given: Any) -> list[Row]:
    return [
        Row(entry=id, dataset=dataset, attack=attack, params=params, metric=metric, value=float(value), **given)
        for (attack, params, metric), column in values.items()
        for id, value in zip(ids, column, strict=True)
    ]


def verdict(given: Sequence[Row], id: str) -> Verdict:
    [one] = study(given, [id]).verdicts
    return one


@pytest.mark.parametrize(("slope", "expected"), [(-0.8, CONFIRMED), (0.8, REFUTED), (0.0, UNTESTED)])
def test_stealing_by_accuracy(slope: float, expected: str) -> None:
    ids = models("ImageNet-1k", "benchmark", 40)
    skill = RNG.uniform(0.6, 0.8, 40)
    stolen = 0.5 + slope * (skill - 0.7) + RNG.normal(0, 0.02, 40)
    given = rows(ids, "ImageNet-1k", {("verify", "{}", "test_accuracy"): skill, ("stealing/knockoff", BASE, "accuracy"): stolen})
    assert verdict(given, "stealing-accuracy").verdict == expected


@pytest.mark.parametrize(("effect", "expected"), [(-0.2, CONFIRMED), (0.0, REFUTED)])
def test_birds(effect: float, expected: str) -> None:
    names = [f"pytorchcv/{kind}resnet{depth}" for kind in ("", "se") for depth in (10, 12, 14, 16, 18, 26)]
    given = []
    for ids, dataset, level in ((names, "ImageNet-1k", 0.5), ([f"{name}_cub" for name in names], "CUB-200-2011", 0.5 + effect)):
        stolen = level + RNG.normal(0, 0.003, 12)
        given += rows(ids, dataset, {("verify", "{}", "test_accuracy"): np.full(12, 0.7), ("stealing/knockoff", BASE, "accuracy"): stolen})
    assert verdict(given, "stealing-cub").verdict == expected


@pytest.mark.parametrize(("effect", "expected"), [(0.04, CONFIRMED), (-0.04, CONFIRMED), (0.0, REFUTED)])
def test_inputs_of_the_mlp(effect: float, expected: str) -> None:
    ids = models("ImageNet-1k", "benchmark", 16)
    full = 0.5 + RNG.uniform(0, 0.05, 16)
    values = {("membership/mlp", MLP % "null", "auc"): full, ("membership/mlp", MLP % "3", "auc"): full + effect + RNG.normal(0, 0.002, 16)}
    one = verdict(rows(ids, "ImageNet-1k", values), "mlp-inputs")
    assert one.verdict == expected and one.estimate and one.estimate.value == pytest.approx(effect, abs=0.003)
    few = rows(models("CIFAR-10", "benchmark", 16), "CIFAR-10", values)
    assert "no dataset of 100 or more classes" in verdict(few, "mlp-inputs").why


@pytest.mark.parametrize(("flagged", "n", "expected"), [(0, 200, CONFIRMED), (40, 200, REFUTED), (1, 20, UNTESTED), (0, 9, UNTESTED)])
def test_false_alarms_of_input_filters(flagged: int, n: int, expected: str) -> None:
    flags = (np.arange(n) < flagged).astype(float)
    ids = models("ImageNet-1k", "benchmark", n)
    values = {("backdoor/strip", "{}", "flagged"): flags, ("backdoor/neo", "{}", "flagged"): np.zeros(n)}
    one = verdict(rows(ids, "ImageNet-1k", values, family="backdoor"), "backdoor-filters")
    assert one.verdict == expected
    if one.estimate:
        interval = stats.binomtest(flagged, n).proportion_ci(0.95)
        assert (one.estimate.low, one.estimate.high) == pytest.approx((interval.low, interval.high))


def test_cost_of_detectors() -> None:
    ids, given = models("ImageNet-1k", "benchmark", 12), []
    for attack, seconds in (("backdoor/strip", 2.0), ("backdoor/neo", 5.0), ("backdoor/neural_cleanse", 500.0)):
        given += rows(ids, "ImageNet-1k", {(attack, "{}", "flagged"): np.zeros(12)}, seconds=seconds)
    one = verdict(given, "backdoor-cost")
    assert one.verdict == CONFIRMED and one.estimate and one.estimate.value == pytest.approx(-2)


@pytest.mark.parametrize(("effect", "expected"), [(0.05, CONFIRMED), (0.0, REFUTED)])
def test_public_models_against_own_ones(effect: float, expected: str) -> None:
    given, gap = [], np.linspace(0.02, 0.05, 30)
    for ids, level in ((models("CIFAR-10", "benchmark", 30), effect), ([f"mine/{number}" for number in range(30)], 0.0)):
        auc = 0.5 + gap + level + RNG.normal(0, 0.002, 30)
        given += rows(ids, "CIFAR-10", {("verify", "{}", "overfit_gap"): gap, ("membership/modified_entropy", "{}", "auc"): auc})
    assert verdict(given, "public-models").verdict == expected
    apart = [replace(row, origin="else") if row.entry.startswith("mine/") else row for row in given]
    assert verdict(apart, "public-models").verdict == UNTESTED  # measured by someone else, so perhaps in another way


def test_leakage_by_classes_needs_ten_datasets() -> None:
    classes = {one.dataset: one.num_classes for one in known_entries().values() if one.dataset and one.num_classes}
    names = [
        name for name in sorted(classes, key=lambda name: classes[name]) if name.endswith("mnist") and name[:5] not in ("organ", "chest")
    ]
    given = []
    for number, name in enumerate([*names, "CIFAR-10", "CIFAR-100", "ImageNet-1k"]):
        ids = models(name, "other" if name.endswith("mnist") else "benchmark", 2)
        given += rows(ids, name, {("membership/modified_entropy", "{}", "auc"): np.full(2, 0.9 - number / 50)})
    assert verdict(given, "membership-data").verdict == CONFIRMED
    assert "are too few" in verdict(given[:8], "membership-data").why


@pytest.mark.parametrize("given", [[], [Row(entry="own/a", dataset="d", attack="verify", metric="test_accuracy", value=0.5, params="{}")]])
def test_rows_that_hold_nothing(given: list[Row]) -> None:
    assert {one.verdict for one in study(given).verdicts} == {UNTESTED}


def test_the_two_questions_of_a_verdict() -> None:
    """Student's t by hand: a negative claim holds below zero and fails above minus the smallest effect."""
    spread = Spread(-0.3, 0.1, 7.0, 8)
    holds, fails = judged(spread, -1, 0.2)
    assert holds == pytest.approx(2 * stats.t.cdf(-3, 7)) and fails == pytest.approx(min(1, 2 * stats.t.sf(-1, 7)))
    holds, fails = judged(Spread(0.001, 0.002, 7.0, 8), 0, 0.01)
    assert holds == pytest.approx(2 * stats.t.sf(0.5, 7)) and fails == pytest.approx(2 * stats.t.sf(4.5, 7))


def test_intervals_cover_with_related_models() -> None:
    """Seven clusters of unequal size, half of the variance between them: the intervals of a mean hold the truth often enough."""
    sizes = (12, 10, 8, 6, 5, 4, 2)  # about those of CIFAR-10 in the release
    labels, rng, inside, naive = np.repeat(np.arange(7), sizes), np.random.default_rng(1), 0, 0
    for _ in range(600):
        values = rng.normal(size=7)[labels] + rng.normal(size=len(labels))
        low, high = jackknife(lambda mask, v=values: float(v[mask].mean()), [str(one) for one in labels]).interval()
        inside += low <= 0 <= high
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        naive += abs(values.mean()) <= half
    assert inside / 600 > 0.93 and naive / 600 < 0.75  # 0.93 is 2 sd of simulation below 0.95


def test_one_count_of_models() -> None:
    published = published_rows()
    distinct = len({row.entry for row in published if row.value is not None})
    counts = counts_of(measure_table(published))
    birds = [row for row in published if row.dataset == "CUB-200-2011"]
    assert findings(birds).to_record()["models"] == study(birds).counts.models == len({row.entry for row in birds}) == 14
    assert (counts.models, counts.lines) == (
        distinct,
        len({(row.origin, row.entry, row.dataset) for row in published if row.value is not None}),
    )
    attacked = {row.entry for row in published if row.value is not None and not row.attack.startswith("verify")}
    assert counts.attacked == len(attacked)
    assert (
        counts.sentence
        == f"{distinct:,} models, {len(attacked):,} of them attacked, in {counts.lines:,} lines (one per model, dataset and origin)"
    )


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ids = [HOSTILE, *models("ImageNet-1k", "benchmark", 29)]
    skill = np.linspace(0.6, 0.8, 30)
    given = rows(ids, "ImageNet-1k", {("verify", "{}", "test_accuracy"): skill, ("stealing/knockoff", BASE, "accuracy"): 1.1 - skill})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**row.to_record(), "n": 1000}) + "\n" for row in given))
    assert main(["paper", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["models"] == 30 and {one["verdict"] for one in printed["claims"]} >= {CONFIRMED, UNTESTED}
    assert main(["paper", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "stealing-accuracy confirmed" in shown and max(map(len, shown.splitlines())) <= 80
    assert main(["paper", str(path), "--claim", "stealing-accuracy"]) == 0
    shown = capsys.readouterr().out
    assert f"securitynet paper {path} --claim stealing-accuracy" in shown.replace("\n", "") and "mlp-inputs" not in shown
    assert main(["paper", "--claim", "stealing-cup"]) == 2
    assert "did you mean stealing-cub" in capsys.readouterr().err


def test_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    assert main(["paper", "--output", str(tmp_path), "--json"]) == 0
    claims = {one["id"]: one for one in json.loads(capsys.readouterr().out)["claims"]}
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for id, one in claims.items():
        assert f'id="{id}"' in page and one["command"] in page
        assert (one["figure"] is None) == (one["effect"]["value"] is None)
        assert one["figure"] is None or (tmp_path / one["figure"]).is_file()
    assert page.count("<img ") == sum(one["figure"] is not None for one in claims.values()) + 4
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script>" not in page.split("</head>")[0]
