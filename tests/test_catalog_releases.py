"""What differs between two states of the catalog, and its results as a dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from securitynet import catalog
from securitynet.catalog import load_results
from securitynet.cli import main

HERE = Path(catalog.__file__).parent


@pytest.fixture
def states(tmp_path: Path) -> tuple[Path, Path]:
    """A small catalog, and one in which a claim changed, one model is gone and one is new."""
    for name in ("old", "new"):
        (tmp_path / name / "models").mkdir(parents=True)
        for config in ("papers", "datasets"):
            shutil.copytree(HERE / config, tmp_path / name / config)
    lines = [json.loads(line) for line in (HERE / "models" / "ivrl.jsonl").read_text(encoding="utf-8").splitlines()]
    after = [{**lines[0], "claimed_accuracy": 0.5}, *lines[2:], {**lines[1], "id": "ivrl/new", "name": "new"}]
    for name, records in (("old", lines), ("new", after)):
        text = "".join(json.dumps(one) + "\n" for one in records)
        (tmp_path / name / "models" / "ivrl.jsonl").write_text(text, encoding="utf-8")
    return tmp_path / "old", tmp_path / "new"


def test_a_difference_names_what_is_new_gone_and_changed(states: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, new = states
    ids = [json.loads(line)["id"] for line in (old / "models" / "ivrl.jsonl").read_text(encoding="utf-8").splitlines()]
    assert main(["catalog", "diff", str(old), str(new)]) == 0
    text = capsys.readouterr().out
    assert "ivrl/new" in text and ids[1] in text and ids[0] in text and "claimed_accuracy" in text and ids[3] not in text
    assert main(["catalog", "diff", str(old), str(new), "--json"]) == 0
    models = next(one for one in json.loads(capsys.readouterr().out) if one["config"] == "models")
    assert (models["added"], models["removed"]) == (["ivrl/new"], [ids[1]]) and list(models["changed"]) == [ids[0]]
    assert main(["catalog", "diff", str(old), str(old), "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert not any(one["added"] or one["removed"] or one["changed"] for one in same)


def test_results_are_a_dataset_that_globs_choose_from() -> None:
    rows = catalog.results("cifar10")
    found = load_results("cifar10", attack="membership/*", metric="auc")
    expected = [row for row in rows if row["attack"].startswith("membership/") and row["metric"] == "auc"]
    assert len(found) == len(expected) > 100 and set(found["dataset"]) == {"CIFAR-10"}
    assert sorted(found["row_id"]) == sorted(row["row_id"] for row in expected)
    assert len(load_results(entry="nothing/*")) == 0
