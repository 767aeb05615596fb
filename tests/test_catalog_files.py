"""The catalog's files: sound as they ship; what is wrong with a spoilt one is named; the card follows its data."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import securitynet
from securitynet import catalog
from securitynet.cli import catalog as command
from securitynet.cli import main
from securitynet.errors import DownloadError
from securitynet.maintenance.card import build_card, features
from securitynet.maintenance.check import check

if TYPE_CHECKING:
    from hub import Hub

CATALOG = Path(str(catalog.__file__)).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the catalog's data to spoil."""
    folder = tmp_path / "copy"
    shutil.copytree(CATALOG, folder, ignore=shutil.ignore_patterns("builtin", "__pycache__", "*.py"))
    return folder


@pytest.fixture
def small(copy: Path) -> Path:
    """A copy with few models and rows, for checks of single lines; rows about the others dangle."""
    for path in (copy / "models").glob("*.jsonl"):
        if path.stem not in ("akamaster", "robust_transfer"):
            path.unlink()
    for path in (copy / "results").glob("*.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = lines[:20] + [line for line in lines[20:] if '"value": 0.731544' in line]
        path.write_text("".join(kept), encoding="utf-8")
    return copy


def test_the_catalog_is_sound() -> None:
    assert check(CATALOG) == []


def test_an_edited_file_is_not_served_from_the_cache(copy: Path) -> None:
    import datasets

    assert len(datasets.load_dataset(str(copy), "projects", split="train")) == 116
    path = copy / "projects" / "zhang2024.jsonl"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:100]), encoding="utf-8")
    (problem,) = check(copy)
    assert "README.md is not up to date" in problem and "projects" in problem
    assert main(["catalog", "build", "--catalog", str(copy)]) == 0
    assert check(copy) == []
    assert len(datasets.load_dataset(str(copy), "projects", split="train")) == 114


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


RECORD = '"id": "akamaster/resnet20"'


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "models/akamaster.jsonl",
            RECORD,
            '"id": "akamaster/resnet-20"',
            r"models/akamaster.jsonl line 1: id 'akamaster/resnet-20' must be",
        ),
        ("models/akamaster.jsonl", RECORD, '"id": 20', "id must be string"),
        ("models/akamaster.jsonl", '"same_weights_as": null, ', "", r"every column.*same_weights_as"),
        ("models/akamaster.jsonl", '"same_weights_as"', '"same_as"', r"every column.*same_as, same_weights_as"),
        ("models/akamaster.jsonl", '"num_classes": 10', '"num_classes": "10"', "num_classes must be int64"),
        ("models/akamaster.jsonl", '"task": "single-label"', '"task": "both"', "task 'both' is not one of"),
        ("models/akamaster.jsonl", '"dataset": "CIFAR-10"', '"dataset": "CIFAR-12"', "'CIFAR-12' is no key of config datasets"),
        ("models/akamaster.jsonl", '"loader": "checkpoint"', '"loader": "chekpoint"', "'chekpoint' is no module of loaders"),
        ("models/akamaster.jsonl", "nets:cifar_resnet", "nets:cifar_net", "'nets:cifar_net' is no module"),
        ("models/akamaster.jsonl", '"claimed_accuracy": 0.9173', '"claimed_accuracy": 91.73', "claimed_accuracy 91.73 is no fraction"),
        ("models/akamaster.jsonl", "https://raw", "ftp://raw", "is no https address"),
        ("models/robust_transfer.jsonl", "https://huggingface", "http://huggingface", "is no https address"),
        ("models/akamaster.jsonl", '"integrity": "full"', '"integrity": "prefix"', "with 64 of 64 digits of the hash it is 'full'"),
        ("models/akamaster.jsonl", '{"id"', '{ "id"', "not in the canonical form"),
        ("models/akamaster.jsonl", '{"id"', '["id"', "line 1: not JSON"),
        ("results/zhang2024.jsonl", '"metric": "test_accuracy"', '"metric": "accuracy"', "row_id is not the sha256"),
        ("results/zhang2024.jsonl", '"value": 0.731544', '"value": 1.731544', "test_accuracy 1.731544 is no fraction"),
        ("results/zhang2024.jsonl", '"value": 0.731544', '"value": null', "status 'ok' with the value None"),
        ("projects/zhang2024.jsonl", '"year": 2024', '"year": 2024.0', "year must be int64"),
    ],
)
def test_check_names_what_is_wrong(small: Path, file: str, old: str, new: str, words: str) -> None:
    spoil(small / file, old, new)
    problems = check(small)
    assert any(re.search(words, problem) and problem.startswith(file) for problem in problems), problems


def test_check_finds_repeated_and_dangling_keys_and_wrong_gaps(copy: Path) -> None:
    model = (copy / "models" / "akamaster.jsonl").read_text(encoding="utf-8")
    (copy / "models" / "akamaster.jsonl").write_text(model + model.splitlines(keepends=True)[0], encoding="utf-8")
    assert any("line 3: id 'akamaster/resnet20' stands in models/akamaster.jsonl line 1 already" in problem for problem in check(copy))
    (copy / "models" / "akamaster.jsonl").write_text(model, encoding="utf-8")
    path = copy / "models" / "ivrl.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "resnet_cifar10/plain_const/1" not in line), encoding="utf-8")
    rows = copy / "results" / "zhang2024.jsonl"
    gap = next(line for line in rows.read_text(encoding="utf-8").splitlines() if '"overfit_gap", "value": 0.' in line)
    value = re.search(r'"value": ([\d.]+)', gap)
    assert value is not None
    spoil(rows, gap, gap.replace(value[0], f'"value": {float(value[1]) + 2e-6}'))
    problems = check(copy)
    assert sum("is no model of the catalog" in problem for problem in problems) == 7
    assert sum("is not the difference" in problem for problem in problems) == 1


def test_the_card_says_what_the_files_hold(copy: Path) -> None:
    text = build_card(CATALOG)
    assert f"| `models` | {len(catalog.ids()):,} |" in text and "`zhang2024` 5,451" in text
    assert all(f"| `{name}` |" in text for config in catalog.CONFIGS for name in features(config))
    spoil(copy / "README.md", "<!-- begin numbers all -->", "")
    assert any("no place for numbers all" in problem for problem in check(copy))


def test_a_revision_comes_from_the_hub(hub: Hub, copy: Path) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(catalog.HUB_ID, repo_type="dataset", exist_ok=True)
    api.upload_folder(folder_path=str(copy), repo_id=catalog.HUB_ID, repo_type="dataset")
    api.create_tag(catalog.HUB_ID, repo_type="dataset", tag="v1")
    api.delete_file("models/medmnist.jsonl", catalog.HUB_ID, repo_type="dataset")
    assert len(securitynet.load_catalog(revision="v1")) == len(catalog.ids())
    assert len(securitynet.load_catalog(revision="main")) == len(catalog.ids()) - 252
    with pytest.raises(DownloadError, match="revision 'v9' of securitynet/catalog cannot be fetched"):
        securitynet.load_catalog(revision="v9")


def test_the_command_checks_and_builds(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.HELP and main(["catalog", "check", "--catalog", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"catalog": str(copy), "problems": []}
    assert main(["catalog", "build", "--catalog", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] == []
    spoil(copy / "README.md", "size_categories", "sizes")
    assert main(["catalog", "check", "--catalog", str(copy)]) == 1
    assert "run `securitynet catalog build`" in capsys.readouterr().out
    assert main(["catalog", "check", "--catalog", str(copy / "nowhere")]) == 2
