"""What was measured under schema 1 is read as what is measured now: rows, saved results, pages, datasets on the Hub."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hub import Hub

from securitynet.results.curves import by_budget
from securitynet.results.row import ADDED, SCHEMA, Row
from securitynet.results.store import read_rows
from securitynet.results.verdict import verdict

SAVED = Path(__file__).parent / "data" / "saved_under_schema_1"  # written by release 0.1.0


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAVED / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_rows(SAVED / "rows.jsonl")


def test_names_become_columns_and_numbers_stay(records: list[dict[str, Any]], rows: list[Row]) -> None:
    assert not any(set(ADDED) & set(record) for record in records), "rows of before"
    for record, row in zip(records, rows, strict=True):
        assert row.schema == SCHEMA and (row.value, row.ci_low, row.n) == (record["value"], record["ci_low"], record["n"])
        changed = row.budget is not None or row.scope is not None
        assert (row.row_id == record["row_id"]) is not changed
        assert row.legacy_id == record["row_id"] or not changed
    assert list(by_budget(rows)) == [20, 60] and by_budget(rows)[20].keys() == by_budget(rows)[60].keys()
    assert not [row for row in rows if "_at_20" in row.metric]


def test_what_a_membership_number_is_of(rows: list[Row]) -> None:
    found = Counter((row.attack, row.metric, row.scope) for row in rows if row.family == "membership")
    assert found["membership/mlp", "auc", "half"] == 3 and found["membership/mlp", "auc", "all"] == 0
    assert found["membership/loss", "auc", "all"] == found["membership/loss", "auc", "half"] == 1
    assert found["membership/loss", "balanced_accuracy", "half"] == 2 and found["membership/tail", "tnr_at_fnr_0.1", "all"] == 1


def test_what_a_p_value_rests_on(rows: list[Row]) -> None:
    found = {row.attack: row for row in rows if row.metric == "p_value"}
    assert [(found[f"backdoor/{name}"].calibrated, found[f"backdoor/{name}"].level) for name in ("last_layer", "ladder")] == [
        (True, 0.02)
    ] * 2
    from securitynet.entry import Entry

    said = verdict(rows, Entry.from_record(json.loads((SAVED / "entry.json").read_text(encoding="utf-8"))))
    stored = json.loads((SAVED / "summary.json").read_text(encoding="utf-8"))["backdoor"]
    assert said is not None and all(getattr(said, name) == stored[name] for name in ("p_value", "target_class", "known"))
    assert (stored["word"], said.word) == ("clean", "cannot tell"), "it was said of a model with a trigger that clean ones do not have"
    assert said.trigger is not None and said.trigger.small and said.trigger.target_class == 7


@pytest.mark.parametrize(
    ("reason", "facts"),
    [
        ("calibrated: no (nearest are 40 clean models on MNIST, 10 classes)", (False, True, 0.01)),
        ("20 clean models on digits, 10 classes; 12 of 43 classes within 60 s", (True, False, 0.02)),
        ("calibrated: no (no clean models were measured with these settings)", (False, True, None)),
    ],
)
def test_sentences_of_before_are_read_once(reason: str, facts: tuple[bool, bool, float | None]) -> None:
    row = Row.from_record({"family": "backdoor", "metric": "p_value", "value": 0.5, "reason": reason, "origin": "securitynet"})
    assert (row.calibrated, row.complete, row.level) == facts


def test_what_others_published_keeps_its_id() -> None:
    from securitynet import catalog

    for record in catalog.results():
        assert Row.from_record(record).row_id == record["row_id"]
        old = {name: value for name, value in record.items() if name not in ADDED}
        if record["threat_model"] is None:
            assert (
                Row.from_record(old).row_id == record["row_id"] and record["legacy_id"] is None and Row.from_record(old).legacy_id is None
            )
        else:  # of before it had its threat model in columns, when accuracy under corruptions had the other's name
            assert Row.from_record(old | {"metric": "robust_accuracy"}).row_id == record["legacy_id"] != record["row_id"]


def test_a_row_is_read_back_as_it_was(rows: list[Row]) -> None:
    assert [Row.from_record(row.to_record()) for row in rows] == rows


def test_pages_of_results_of_before(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from securitynet.cli import main

    assert main(["report", str(SAVED), "--output", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "knockoff, 20 queries" in page and "knockoff, 60 queries" in page, "the largest budget too"


def test_a_push_knows_what_was_pushed_before(hub: Hub, tmp_path: Path, records: list[dict[str, Any]], rows: list[Row]) -> None:
    """The shards of before have neither the columns nor the ids of today."""
    import datasets
    from huggingface_hub import HfApi

    from securitynet.hub import push_results

    repo = "securitynet/results-of-before"
    HfApi().create_repo(repo, repo_type="dataset")
    for family in ("membership", "stealing"):
        path = f"{family}/000.parquet"
        own = [record | {"date": None} for record in records if record["family"] == family]
        file = tmp_path / f"{family}.parquet"
        datasets.Dataset.from_list(own).to_parquet(file)
        HfApi().upload_file(repo_id=repo, repo_type="dataset", path_or_fileobj=file, path_in_repo=path)
    again = [row for row in rows if row.family in ("membership", "stealing")]
    measured_now = [Row.from_record(row.to_record() | {"legacy_id": None}) for row in again]
    assert push_results(again, repo).rows == push_results(measured_now, repo).rows == 0
    verified = [row for row in rows if row.family == "verify"]
    assert push_results([*again, *verified], repo).rows == len(verified)
    datasets.config.USE_PARQUET_EXPORT = False
    assert datasets.load_dataset(repo, "stealing", split="train").num_rows == len([row for row in rows if row.family == "stealing"])
