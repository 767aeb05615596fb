"""Findings: the published numbers digit by digit, and planted false findings that must not be reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from securitynet.cli import main
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.report.findings import Findings, findings
from securitynet.report.findings.hypotheses import DEFINITION, FINDING, NOTHING, UNTESTED
from securitynet.report.findings.released_tables import COLUMNS
from securitynet.report.findings.shared_terms import exact
from securitynet.report.measure_table import GAP, TEST, load_rows, measure_table, titled
from securitynet.results.row import Row

DATA = Path(__file__).parent / "data"
REGRESSIONS = json.loads((DATA / "paper-correlations.json").read_text(encoding="utf-8"))
RANGES = json.loads((DATA / "paper-ranges.json").read_text(encoding="utf-8"))
KNOCKOFF = 'stealing/knockoff{"preset":"base"}:accuracy'


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `securitynet findings --json` prints, by way of the library."""
    return json.loads(json.dumps(findings().to_record()))


@pytest.mark.parametrize("expected", REGRESSIONS, ids=lambda one: f"{one['group']}: {one['y']} by {one['x']}")
def test_the_78_regressions(record: dict[str, Any], expected: dict[str, Any]) -> None:
    found = [one for one in record["regressions"] if all(one[name] == expected[name] for name in ("group", "y", "x"))]
    assert len(found) == 1 and found[0]["n"] == expected["n"]
    for name in ("pearson", "spearman", "slope", "intercept"):
        assert round(found[0][name], 4) == expected[name], name
    if abs(expected["pearson"]) < 0.9999:  # nearer to 1 the probabilities are rounding noise
        assert float(f"{found[0]['pearson_p']:.1e}") == expected["pearson_p"]
        assert float(f"{found[0]['spearman_p']:.1e}") == expected["spearman_p"]
    if 0 < abs(found[0]["pearson"]) < 0.9999:
        assert found[0]["pearson_low"] <= found[0]["pearson"] <= found[0]["pearson_high"]


def test_all_78_and_no_other(record: dict[str, Any]) -> None:
    assert len(record["regressions"]) == len(REGRESSIONS) == 78
    assert {one["group"] for one in record["regressions"] if one["pooled"]} == {
        one["group"] for one in REGRESSIONS if "pooled" in one["group"] or "minus organ" in one["group"]
    }


@pytest.mark.parametrize("expected", RANGES, ids=lambda one: f"{one['group']}: {one['column']}")
def test_the_published_ranges(record: dict[str, Any], expected: dict[str, Any]) -> None:
    key = ("zhang2024", expected["group"], COLUMNS[expected["column"]])
    [found] = [one for one in record["ranges"] if (one["origin"], one["group"], one["measure"]) == key]
    assert found["n"] == expected["n"]
    for name in ("min", "q25", "median", "mean", "q75", "max", "sd"):
        assert found[name] == pytest.approx(expected[name], abs=0.50001e-4), name


def test_security_models_at_equal_overfitting(record: dict[str, Any]) -> None:
    bins = [one for one in record["equal_overfitting"] if one["dataset"] == "CIFAR-10" and one["y"] == COLUMNS["M_entropy AUC"]]
    shown = [(round(one["security"]["mean"], 4), one["security"]["n"], one["benchmark"]["n"]) for one in bins]
    assert shown == [(0.5186, 11, 13), (0.5239, 35, 23), (0.5274, 9, 11), (0.5663, 17, 0)]
    assert [round(one["benchmark"]["mean"], 4) for one in bins[:3]] == [0.5448, 0.5562, 0.5557]
    [tested] = [one for one in record["findings"] if one["kind"] == "security" and one["dataset"] == "CIFAR-10"]
    assert tested["coefficient"] < 0 and tested["high"] < 0


def test_sentences_of_the_published_findings(record: dict[str, Any]) -> None:
    start = "stealing accuracy falls with target accuracy on CIFAR-100, benchmark models (rho -0.87, 95 % CI "
    [words] = [one for one in record["sentences"] if one.startswith(start)]
    assert ", n 45, " in words
    assert any(one.startswith("stealing accuracy rises with target accuracy on CIFAR-10, security models") for one in record["sentences"])
    lower = [one for one in record["findings"] if one["kind"] == "variants" and "wide" in one["y"]]
    assert sum(one["n"] for one in lower if one["y"].endswith(":accuracy")) == 132
    assert all(one["higher"] == 0 for one in lower)
    assert any("stealing accuracy seems to rise with target accuracy" in one and "5 of 5 datasets" in one for one in record["warnings"])


def test_definitions_and_constant_train_accuracy_are_no_findings(record: dict[str, Any]) -> None:
    correctness = [one for name in ("findings", "no_findings") for one in record[name] if one["y"].startswith("membership/correctness")]
    assert not correctness
    assert len([one for one in record["definitions"] if one["y"] == "membership/correctness:auc" and one["x"] == GAP]) >= 7
    [svhn] = [
        one
        for one in record["not_tested"]
        if one["dataset"] == "SVHN" and one["x"] == GAP and one["y"] == "membership/modified_entropy:auc"
    ]
    assert "the same number for all models" in svhn["reason"]


def _rows(dataset: str, columns: dict[str, np.ndarray], prefix: str = "m") -> list[Row]:
    rows = []
    for measure, values in columns.items():
        attack, _, metric = measure.rpartition(":")
        attack, brace, params = attack.partition("{")
        for number, value in enumerate(values):
            id = f"own/{prefix}-{dataset}-{number}"
            rows.append(Row(entry=id, dataset=dataset, attack=attack, params=brace + params or "{}", metric=metric, value=float(value)))
    return rows


def _entries(rows: list[Row], types: int) -> dict[str, Entry]:
    ids = dict.fromkeys(row.entry for row in rows)
    return {id: Entry(id=id, purpose="benchmark", family=f"type{number % types}") for number, id in enumerate(ids)}


def _found(rows: list[Row], types: int = 8, metadata: pd.DataFrame | None = None) -> Findings:
    return findings(measure_table(rows, _entries(rows, types)), metadata)


def test_a_pooled_sign_is_warned_of_and_is_no_finding() -> None:
    rng, rows = np.random.default_rng(0), []
    for number in range(4):  # within each dataset it falls, over all of them it rises
        x = 0.5 + 0.1 * number + rng.uniform(0, 0.05, 40)
        y = 0.3 + 0.1 * number - 0.9 * (x - 0.5 - 0.1 * number) + rng.normal(0, 0.004, 40)
        rows += _rows(f"set{number}", {TEST: x, KNOCKOFF: y})
    found = _found(rows)
    assert len(found.of(FINDING)) == 4 and all(" falls with target accuracy on set" in one for one in found.sentences)
    assert [(one.pooled > 0.8, one.within_mean < -0.9, one.n) for one in found.pooled] == [(True, True, 160)]
    assert len(found.warnings) == 1 and "the pooled sign is a difference between datasets" in found.warnings[0]


def test_pooling_unrelated_groups_makes_no_finding() -> None:
    rng, rows = np.random.default_rng(3), []
    for number in range(5):
        x, y = 0.4 + 0.1 * number + rng.normal(0, 0.01, 40), 0.2 + 0.1 * number + rng.normal(0, 0.01, 40)
        rows += _rows(f"set{number}", {TEST: x, KNOCKOFF: y})
    found = _found(rows)
    assert not found.sentences and len(found.of(NOTHING)) == 5
    assert len(found.warnings) == 1 and "within datasets hardly" in found.warnings[0]


def test_identities_with_other_names_are_definitions() -> None:
    rng = np.random.default_rng(1)
    train, test = rng.uniform(0.9, 1, 50), rng.uniform(0.6, 0.9, 50)
    line = {"membership/newname:auc": 0.5 + (train - test) / 2}
    hidden = {"stealing/other:accuracy": 0.2 + 0.3 * train - 0.4 * test}
    found = _found(_rows("set", {"verify:train_accuracy": train, TEST: test, GAP: train - test, **line, **hidden}))
    assert not found.sentences
    assert {(one.x, one.y) for one in found.of(DEFINITION)} == {
        (GAP, "membership/newname:auc"), (TEST, "membership/newname:auc"), (TEST, "stealing/other:accuracy"),
        ("membership/newname:auc", "stealing/other:accuracy"),
    }  # fmt: skip
    x = rng.normal(size=30)
    assert exact(x, 2 * x + rng.normal(0, 1e-3, 30), np.empty((30, 0))) is None


@pytest.mark.parametrize("within", [False, True])
def test_forty_columns_of_noise_are_no_findings(within: bool) -> None:
    """Also where they are constant within a model type, and the measurements are alike within it."""
    alarms = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        types = np.arange(120) % 15
        y = 0.4 + 0.05 * rng.normal(size=15)[types] + 0.01 * rng.normal(size=120)
        rows = _rows("set", {TEST: rng.uniform(0.6, 0.9, 120), KNOCKOFF: y})
        noise = rng.normal(size=(120, 40)) if within else rng.normal(size=(15, 40))[types]
        table = measure_table(rows, _entries(rows, 15))
        number = table.frame["entry"].str.rpartition("-")[2].astype(int).to_numpy()
        metadata = pd.DataFrame(noise[number], columns=[f"noise {one}" for one in range(40)], index=table.frame.index)
        tests = [one for one in findings(table, metadata).tests if one.kind == "metadata"]
        assert len(tests) == 40
        alarms += sum(one.verdict == FINDING for one in tests)
        naive = [stats.pearsonr(column, y[number]).pvalue for column in noise[number].T]
        assert within or sum(p < 0.05 for p in naive) >= 5  # what a test of lines as if they were independent would say
    assert alarms == 0


def test_a_true_effect_of_metadata_is_found() -> None:
    rng = np.random.default_rng(2)
    types, size = np.arange(120) % 15, rng.normal(size=120)
    rows = _rows("set", {KNOCKOFF: 0.4 + 0.05 * rng.normal(size=15)[types] - 0.02 * size + 0.01 * rng.normal(size=120)})
    table = measure_table(rows, _entries(rows, 15))
    number = table.frame["entry"].str.rpartition("-")[2].astype(int).to_numpy()
    found = findings(table, pd.DataFrame({"size": size[number]}, index=table.frame.index))
    assert [one.sentence.split(" (")[0] for one in found.of(FINDING)] == ["stealing accuracy falls with size on set, benchmark models"]


def test_few_models_suspects_and_empty_sets_are_not_tested() -> None:
    rng = np.random.default_rng(4)
    rows = _rows("set", {TEST: rng.uniform(size=9), KNOCKOFF: rng.uniform(size=9)})
    assert [one.verdict for one in _found(rows).tests if one.kind == "correlation"] == [UNTESTED]
    assert findings([]).tests == ()
    suspect = [Row(entry="own/a", dataset="set", attack="verify", metric="test_accuracy", value=0.5, status="suspect")]
    assert len(measure_table(suspect).frame) == 0


def test_measures_in_words() -> None:
    assert titled(KNOCKOFF) == "stealing accuracy"
    assert titled("membership/loss:tpr_at_fpr_0.001") == "loss TPR at 0.1 % FPR"
    assert titled('robustness{"threat_model":"L2 eps=0.5"}:robust_accuracy') == "robust accuracy (threat model L2 eps=0.5)"


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not JSON"), ("[1]", "not a row"), ('{"entry":"a","attack":"b","metric":"c","value":"high"}', "value must be a number"),
     ('{"entry":"a","attack":"b","metric":"c","value":1,"params":"[]"}', "params must be a JSON object")],
)  # fmt: skip
def test_files_that_are_no_rows(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\n{text}\n")
    with pytest.raises(UsageError, match=f"line 2: .*{words}"):
        load_rows([path])
    with pytest.raises(UsageError, match="no such file"):
        load_rows([tmp_path / "other.jsonl"])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(6)
    x = rng.uniform(0.6, 0.9, 30)
    rows = _rows("set", {TEST: x, KNOCKOFF: 1 - x + rng.normal(0, 0.01, 30)})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row.to_record()) + "\n" for row in rows))
    assert main(["findings", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["models"] == 30 and record["sentences"][0].startswith("stealing accuracy falls with target accuracy on set")
    assert main(["findings", str(path)]) == 0
    assert "1 findings" in capsys.readouterr().out.replace("1 finding in", "1 findings in")
    assert main(["findings", str(tmp_path / "none.jsonl")]) == 2
