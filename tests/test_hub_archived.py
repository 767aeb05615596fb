"""A zoo in one archive on the local Hub: its directory alone is read, and every model has the truth that the card states."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from securitynet.cli import main
from securitynet.entry import Entry
from securitynet.importers.onhub.archived import ARCHIVES, FLASHBN
from securitynet.importers.onhub.pins import Place
from securitynet.maintenance.records import read

if TYPE_CHECKING:
    from hub import Hub

CIFAR = ("ReAttack_BadNets_NAD", "CTRL", "FTrojan", "BPP", "Poison_Ink", "diffusion_backdoor", "Adaptive-Blend", "COMBAT")
TINY = ("badnet_0_1", "blended_0_1", "lf_0_1", "ssba_0_1", "wanet_0_1", "inputaware_0_1", "bpp_0_1", "trojannn_0_1", "sig_0_005")
NUMBERS = count()
FOLDERS = [f"cifar10_preactresnet18_{name}" for name in CIFAR] + [f"tiny_preactresnet18_{name}" for name in TINY]


def packed(folders: list[str], size: int = 200_000) -> bytes:
    """An archive with the layout that the zoo's card states, its models too large to be read by accident."""
    place = io.BytesIO()
    with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as archive:
        for folder in folders:
            archive.writestr(f"attacked_models/{folder}/model.pt", os.urandom(size))
            archive.writestr(f"attacked_models/{folder}/poisoned_test.npz", os.urandom(size))
    return place.getvalue()


@pytest.fixture
def repo(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """The zoo's repo under a name that may be written on the local Hub; it is not there yet."""
    name = f"securitynet/attacked-{next(NUMBERS)}"
    monkeypatch.setitem(ARCHIVES, FLASHBN.source, replace(FLASHBN, place=Place(name, FLASHBN.place.file)))
    return name


def publish(repo: str, content: bytes, name: str = FLASHBN.place.file) -> str:
    """Put a file into the zoo's repo on the local Hub; return the commit."""
    from huggingface_hub import HfApi

    HfApi().create_repo(repo, exist_ok=True)
    return str(HfApi().upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=repo).oid)


def imported(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Import the zoo; its records, and what the command says."""
    (folder / "models").mkdir(exist_ok=True)
    assert main(["catalog", "import", "flashbn_rebn", "--catalog", str(folder), "--json"]) == 0
    return read(folder / "models" / "flashbn_rebn.jsonl"), json.loads(capsys.readouterr().out)


def test_every_model_has_its_truth_and_its_pin(hub: Hub, repo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = packed(FOLDERS)
    commit = publish(repo, content)
    before = len(hub.requests)
    found, report = imported(tmp_path, capsys)
    assert len(found) == len(report["added"]) == 17
    assert sum(one.sent for one in hub.requests[before:]) < len(content) / 3 and len(hub.requests) - before < 12
    assert {(one["revision"], one["weights_size"], one["weights_hash"], one["hash_of"], one["integrity"]) for one in found} == {
        (commit, len(content), hashlib.sha256(content).hexdigest(), "file", "full")
    }
    assert all(Entry.from_record(one).pin == "pinned" and f"/resolve/{commit}/" in one["weights_url"] for one in found)
    assert {one["archive_member"] for one in found} == {f"attacked_models/{folder}/model.pt" for folder in FOLDERS}
    by_name = {one["name"]: one for one in found}
    truth = {name: (one["dataset"], one["num_classes"], one["backdoor"], one["backdoor_target"]) for name, one in by_name.items()}
    assert truth["cifar10_preactresnet18_ReAttack_BadNets_NAD"] == ("CIFAR-10", 10, "badnets", 0)
    assert truth["cifar10_preactresnet18_Adaptive-Blend"] == ("CIFAR-10", 10, "adaptive_blend", 0)
    assert truth["tiny_preactresnet18_trojannn_0_1"] == ("Tiny-ImageNet", 200, "trojan_nn", 0)
    assert truth["tiny_preactresnet18_inputaware_0_1"] == ("Tiny-ImageNet", 200, "input_aware", 0)
    assert "0.5% of the training images" in by_name["tiny_preactresnet18_sig_0_005"]["notes"]
    assert "10.0% of the training images" in by_name["cifar10_preactresnet18_CTRL"]["notes"]
    assert {one["licence"] for one in found} == {"CC-BY-NC-4.0"} and all(one["claimed_accuracy"] is None for one in found)


def test_again_changes_nothing_and_additions_stay(repo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(repo, packed(FOLDERS[:3], 2000))
    imported(tmp_path, capsys)
    path = tmp_path / "models" / "flashbn_rebn.jsonl"
    before = path.read_bytes()
    assert not imported(tmp_path, capsys)[1]["written"] and path.read_bytes() == before
    records = read(path)
    path.write_text("".join(json.dumps({**one, "backdoor_success": 0.97}) + "\n" for one in records))
    assert {one["backdoor_success"] for one in imported(tmp_path, capsys)[0]} == {0.97}


def test_folders_that_the_card_does_not_name(repo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(repo, packed(["gtsrb_preactresnet18_<b>new", "cifar10_preactresnet18_marksman"], 100))
    odd = {one["name"]: one for one in imported(tmp_path, capsys)[0]}
    assert odd["cifar10_preactresnet18_marksman"]["backdoor"] == "marksman"
    assert "which the card does not state" in odd["cifar10_preactresnet18_marksman"]["notes"]
    assert len(odd) == 1, "a name with markup makes no record"


def test_what_is_no_such_archive_is_refused(repo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").mkdir()
    command = ["catalog", "import", "flashbn_rebn", "--catalog", str(tmp_path)]
    assert main(command) == 1 and repo in capsys.readouterr().err
    publish(repo, b"no archive", "README.md")
    assert main(command) == 2 and "there is no attacked_models.zip" in capsys.readouterr().err
    publish(repo, b"no archive")
    assert main(command) == 1 and "is no zip archive" in capsys.readouterr().err
    publish(repo, packed(["readme"], 1))
    assert main(command) == 1 and "holds no model" in capsys.readouterr().err
    assert not (tmp_path / "models" / "flashbn_rebn.jsonl").exists()
