"""The importer of the released table: every rule for its numbers and its errors, and a second run that changes nothing."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from released_table import BENCHMARK, IDS, PROJECTS, RESNET, SECURITY, bring, contents, table, text_of, write_catalog

from securitynet import catalog as shipped
from securitynet.cli import main
from securitynet.entry import Entry
from securitynet.importers.project import mended
from securitynet.importers.securitynet_2024 import SECURITY_COLUMNS, import_table
from securitynet.maintenance.card import files_of

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalog whose entries say nothing yet that the table could say, but for one venue."""
    return write_catalog(tmp_path)


def models(folder: Path) -> dict[str, Entry]:
    records = [json.loads(line) for path in files_of(folder, "models") for line in path.read_text(encoding="utf-8").splitlines()]
    return {record["id"]: Entry.from_record(record) for record in records}


def rows(folder: Path) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    lines = (folder / "results" / "zhang2024.jsonl").read_text(encoding="utf-8").splitlines()
    return {(row["entry"], row["attack"], row["params"], row["metric"]): row for row in map(json.loads, lines)}


def test_numbers_become_rows(folder: Path) -> None:
    report = bring(folder)
    assert report.released == {"benchmark": 4, "security": 3, "projects": 3}
    found = rows(folder)
    assert len(found) == report.rows.added == 4 * 11 + 3 * 7
    resnet = {key[1:]: row["value"] for key, row in found.items() if key[0] == IDS[0]}
    assert resnet == {
        ("verify", "{}", "train_accuracy"): 1.0,
        ("verify", "{}", "test_accuracy"): 0.9334,
        ("verify", "{}", "overfit_gap"): 0.0666,
        ("stealing/knockoff", '{"preset":"base"}', "accuracy"): 0.75,
        ("stealing/knockoff", '{"preset":"base"}', "agreement"): 0.76,
        ("membership/correctness", "{}", "auc"): 0.53,
        ("membership/modified_entropy", "{}", "auc"): 0.55,
        ("stealing/knockoff", '{"preset":"wide_surrogate"}', "accuracy"): 0.58,
        ("stealing/knockoff", '{"preset":"wide_surrogate"}', "agreement"): 0.59,
        ("stealing/knockoff", '{"preset":"ood_queries"}', "accuracy"): 0.6,
        ("stealing/knockoff", '{"preset":"ood_queries"}', "agreement"): 0.61,
    }
    one = found[IDS[0], "verify", "{}", "test_accuracy"]
    assert (one["n"], one["dataset"], one["origin"], one["status"], one["reason"]) == (10_000, "CIFAR-10", "zhang2024", "ok", None)
    sampled = found[IDS[5], "membership/correctness", "{}", "auc"]
    assert sampled["n"] == 10_000 and sampled["reason"].startswith("sampled_eval_5000: ")
    assert found[IDS[2], "verify", "{}", "train_accuracy"]["reason"].startswith("train_acc_constant: ")


def test_what_was_not_measured_is_null_with_the_printed_cell(folder: Path) -> None:
    bring(folder)
    missing = {key: row for key, row in rows(folder).items() if row["value"] is None}
    medical = {key[1:]: row["reason"] for key, row in missing.items() if key[0] == IDS[3]}
    assert len(medical) == 8 and all(row["status"] == "skipped" and row["n"] is None for row in missing.values())
    assert medical["membership/correctness", "{}", "auc"] == "not measured: printed as 0"
    assert "printed -0.269886 is no gap" in medical["verify", "{}", "overfit_gap"]
    robust = {key[1:]: row["reason"] for key, row in missing.items() if key[0] == IDS[4]}
    assert robust == {
        ("stealing/knockoff", '{"preset":"base"}', name): "not measured: printed as nan" for name in ("accuracy", "agreement")
    }
    assert len(missing) == 10


def test_only_what_is_null_is_filled(folder: Path) -> None:
    before = models(folder)
    report = bring(folder)
    after = models(folder)
    assert (report.entries.changed, report.entries.unchanged) == (7, 0)
    assert after[IDS[1]].venue == "ICML" and after[IDS[0]].venue == "CVPR"
    assert after[IDS[-1]] == before[IDS[-1]]  # the third run is not in this table
    assert [after[id].paper_run for id in IDS[5:]] == [1, 2, None] and after[IDS[0]].paper_run is None
    assert (after[IDS[0]].countries, after[IDS[3]].countries) == (("China", "USA"), ("China", "Netherlands"))
    assert after[IDS[3]].flags == ("constant_predictor", "suspect_eval", "weights_link_is_dataset")
    assert after[IDS[4]].flags == ("sampled_eval_5000", "acc_below_publisher")
    assert (after[IDS[1]].dataset, after[IDS[1]].paper_table, after[IDS[4]].paper_table) == ("ImageNet-1k", "benchmark", "security")
    assert json.loads(after[IDS[1]].paper_record or "") == BENCHMARK[1]
    assert all(after[id].claimed_accuracy is None and after[id].weights_url is None for id in IDS)


def test_projects_with_mended_links(folder: Path) -> None:
    bring(folder)
    lines = (folder / "projects" / "zhang2024.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [project["flags"] for project in found] == [None, ["bad_url", "no_weights"], ["paper_link_is_code"]]
    assert [project["paper_url"] for project in found] == ["https://arxiv.org/abs/1", None, None]
    assert {project["weights_url"] for project in found} == {"https://github.com/a/b"}
    assert json.loads(found[1]["record"]) == PROJECTS[1]
    assert mended("https://github.com/a/b?tab=readme-ov-file") == "https://github.com/a/b"
    assert mended("http://mftp.mmcheng.net/a.pdf") == "http://mftp.mmcheng.net/a.pdf"  # not known to speak https


def test_a_second_run_changes_nothing(folder: Path) -> None:
    assert len(bring(folder).files) == 6
    first = contents(folder)
    again = bring(folder)
    assert contents(folder) == first and again.files == ()
    assert (again.rows.added, again.rows.changed, again.rows.unchanged, again.rows.removed) == (0, 0, 65, 0)
    assert again.entries.unchanged == 7 and again.projects.unchanged == 3
    corrected = bring(folder, text_of(benchmark=[RESNET | {"Test Accuracy": "0.9335"}, *BENCHMARK[1:3]]))
    assert (corrected.rows.changed, corrected.rows.removed, corrected.rows.unchanged) == (1, 11, 53)


def test_columns_may_stand_in_any_order(folder: Path) -> None:
    bring(folder)
    first = rows(folder)
    turned = tuple(reversed(SECURITY_COLUMNS))
    bring(folder, text_of().replace(table(SECURITY_COLUMNS, SECURITY), table(turned, SECURITY)))
    assert rows(folder) == first


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "README.MD").write_text(text_of(), encoding="utf-8")
    call = ["catalog", "import", "securitynet-2024", str(folder / "README.MD"), "--catalog", str(folder)]
    assert main(call) == 0
    assert "65 added" in capsys.readouterr().out
    assert main([*call, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == {"added": 0, "changed": 0, "unchanged": 65, "removed": 0}
    (folder / "README.MD").write_text("nothing", encoding="utf-8")
    assert main(call) == 1
    assert capsys.readouterr().err == "securitynet: no table under the heading 'Benchmark Models'\n"


@pytest.fixture
def upstream() -> Path:
    """The whole released table; skips where it is absent."""
    if not (REFERENCE / "securitynet-database.md").exists():
        pytest.skip("the whole released table is not here")
    return REFERENCE


def test_the_whole_table(upstream: Path, tmp_path: Path) -> None:
    source = Path(str(shipped.__file__)).parent
    for name in ("models", "papers", "projects"):
        shutil.copytree(source / name, tmp_path / name)
    (tmp_path / "results").mkdir()
    shutil.copy(source / "results" / "zhang2024.jsonl", tmp_path / "results")
    before = contents(tmp_path)
    report = import_table(upstream / "securitynet-database.md", tmp_path)
    assert contents(tmp_path) == before and report.files == ()
    assert report.released == {"benchmark": 437, "security": 92, "projects": 102}
    assert (report.rows.unchanged, report.entries.unchanged, report.projects.unchanged) == (5451, 529, 102)
    assert report.flags == {
        "train_acc_constant": 40, "constant_predictor": 21, "suspect_eval": 36, "failed_attack": 1, "sampled_eval_5000": 92,
        "acc_below_publisher": 151, "weights_link_is_dataset": 174, "weights_link_moved": 263, "paper_link_is_code": 48, "bad_url": 1,
        "no_weights": 5,
    }  # fmt: skip
    shutil.rmtree(tmp_path / "results")
    spoilt = tmp_path / "projects" / "zhang2024.jsonl"
    spoilt.write_text(spoilt.read_text(encoding="utf-8").replace('"year": 2023', '"year": 1999'), encoding="utf-8")
    assert import_table(upstream / "securitynet-database.md", tmp_path).rows.added == 5451
    assert contents(tmp_path) == before  # what is known of projects beyond the release is kept


def test_every_released_row_finds_its_model(upstream: Path) -> None:
    with (upstream / "sources" / "securitynet_rows.csv").open(encoding="utf-8", newline="") as file:
        expected = list(csv.DictReader(file))
    assert len(expected) == 529
    accuracies = {row["entry"]: row["value"] for row in shipped.results() if row["metric"] == "test_accuracy"}
    for row in expected:
        entry = shipped.entry(f"{row['source']}/{row['entry']}")
        printed = json.loads(entry.paper_record or "")
        assert (entry.paper_table, printed["Model Name"], printed["Data Name"]) == (row["table"], row["model_name"], row["data_name"])
        assert accuracies[entry.id] == float(row["db_test_accuracy"]) == float(printed["Test Accuracy"])
