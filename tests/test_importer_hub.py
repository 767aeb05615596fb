"""catalog add --from-hub against the local Hub: pinned, hashed, counted, and honest about what is missing."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from securitynet import catalog
from securitynet.cli import main
from securitynet.maintenance.check import check

if TYPE_CHECKING:
    from hub import Hub

BUILTIN = Path(str(catalog.__file__)).parent / "builtin" / "digits-regular"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(BUILTIN.parents[1] / "datasets", tmp_path / "datasets")
    (tmp_path / "models").mkdir()
    return tmp_path


def test_a_repo_becomes_a_record(hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo("securitynet/digits", exist_ok=True)
    commit = api.upload_folder(folder_path=str(BUILTIN), repo_id="securitynet/digits").oid
    assert main(["catalog", "add", "--from-hub", "securitynet/digits", "--catalog", str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    record = report["entry"]
    weights = (BUILTIN / "model.safetensors").read_bytes()
    assert (record["id"], record["source"], record["hub_id"], record["revision"]) == (
        "securitynet/digits",
        "securitynet",
        "securitynet/digits",
        commit,
    )
    assert (record["weights_hash"], record["weights_size"]) == (hashlib.sha256(weights).hexdigest(), len(weights))
    assert (record["integrity"], record["params"], record["dataset"], record["num_classes"]) == ("full", 69500, "digits", 10)
    assert record["claimed_accuracy"] == catalog.entry("builtin/digits-regular").claimed_accuracy
    assert any(words.startswith("paper_url: ") for words in report["missing"]) and not any(
        "licence" in words for words in report["missing"]
    )
    problems = [problem for problem in check(folder) if problem.startswith("models/securitynet")]
    assert problems == []


def test_what_a_person_wrote_stays(hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub import HfApi

    HfApi().create_repo("securitynet/digits", exist_ok=True)
    HfApi().upload_folder(folder_path=str(BUILTIN), repo_id="securitynet/digits")
    arguments = ["catalog", "add", "--from-hub", "securitynet/digits", "--catalog", str(folder)]
    assert main(arguments) == 0
    path = folder / "models" / "securitynet.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"notes": "ours"}) + "\n", encoding="utf-8")
    assert main(arguments) == 0
    assert json.loads(path.read_text(encoding="utf-8"))["notes"] == "ours"
    assert "missing   paper_url" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing", "a/b/c", "../x"])
def test_no_such_repo(name: str, hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "add", "--from-hub", name, "--catalog", str(folder)]) in (1, 2)
    assert capsys.readouterr().err.startswith("securitynet: ") and not list((folder / "models").iterdir())
