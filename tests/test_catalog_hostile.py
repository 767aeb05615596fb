"""Records that want to do harm, or are only careless: refused when they are read, checked, built or fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from securitynet import catalog
from securitynet.download import Files, fetch
from securitynet.entry import Entry
from securitynet.errors import SecurityNetError, UsageError
from securitynet.loaders import load
from securitynet.loaders._architectures import build_network
from securitynet.maintenance.check import check
from securitynet.maintenance.record_checks import unsound

CATALOG = Path(str(catalog.__file__)).parent
GOOD = catalog.entry("akamaster/resnet20").to_record()


def said(**columns: Any) -> str:
    return "; ".join(unsound({**GOOD, **columns}))


def test_a_good_record_is_sound() -> None:
    assert said() == ""
    assert all(not list(unsound(entry.to_record())) for entry in catalog.entries()[::40])


HOSTILE = [
    ({"id": "akamaster/<script>alert(1)</script>"}, "id .* must be SOURCE/NAME"),
    ({"id": "akamaster/../../etc/passwd"}, "id .* must be SOURCE/NAME"),
    ({"id": "akamaster/a\nlicense: mit"}, "line end"),
    ({"name": "<img src=x onerror=alert(1)>"}, "name .* holds markup"),
    ({"notes": "fine\n---\nlicense: mit\n---"}, "notes holds a line end"),
    ({"licence": "MIT\ntags:\n- trusted"}, "licence holds a line end"),
    ({"paper_title": "A \u202etitle"}, "paper_title holds a line end or a control character"),
    ({"flags": ["ok", "bad\u0000flag"]}, "flags holds a line end or a control character"),
    ({"paper_url": "javascript:alert(1)"}, "paper_url .* is no link"),
    ({"paper_url": "data:text/html,<script>alert(1)</script>"}, "paper_url .* is no link"),
    ({"paper_url": "https://arxiv.org/abs/xxxx.xxxxx"}, "paper_url .* names no paper of arXiv"),
    ({"weights_file": "../../../home/user/.ssh/id_rsa"}, "weights_file .* relative path"),
    ({"weights_file": "/etc/passwd"}, "weights_file .* relative path"),
    ({"archive_member": "a/../../b.pth"}, "archive_member .* relative path"),
    ({"archive_member": "C:\\windows\\b.pth"}, "archive_member .* relative path"),
    ({"members_file": "~/members.safetensors"}, "members_file .* relative path"),
    ({"hub_id": "https://example.org/x"}, "hub_id .* must be ORG/NAME"),
    ({"hub_id": "../x"}, "hub_id .* must be ORG/NAME"),
    ({"architecture_args": '{"weights":"/tmp/other.pth"}'}, "weights must be a number"),
    ({"architecture_args": '{"depth":{"x":1}}'}, "depth must be a number"),
    ({"architecture_args": '{"depth":1000000000}'}, "depth must be a number"),
    ({"architecture_args": "__import__('os')"}, "must be a JSON object"),
    ({"num_classes": -1}, "num_classes -1 must be positive"),
    ({"input_size": [3, 10**9, 32]}, "impossible size"),
    ({"std": [0.0, 1.0, 1.0]}, "std holds a zero"),
    ({"backdoor_target": 10}, "backdoor_target 10 is no class"),
    ({"year": 20222}, "year 20222"),
    ({"class_map": "list"}, "class_list goes with class_map 'list'"),
]


@pytest.mark.parametrize(("columns", "words"), HOSTILE)
def test_check_refuses(columns: dict[str, Any], words: str) -> None:
    import re

    assert re.search(words, said(**columns), re.DOTALL)


def test_the_whole_check_names_the_line(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(CATALOG, folder, ignore=shutil.ignore_patterns("builtin", "__pycache__", "*.py"))
    path = folder / "models" / "akamaster.jsonl"
    bad = {**GOOD, "paper_url": "javascript:alert(1)", "same_weights_as": "akamaster/none", "notes": "a\nb"}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(json.dumps(bad, ensure_ascii=False) + "\n" + "".join(lines[1:]), encoding="utf-8")
    problems = "\n".join(check(folder))
    for words in ("line 1: paper_url", "line 1: notes holds", "line 1: same_weights_as 'akamaster/none' is no model"):
        assert f"models/akamaster.jsonl {words}" in problems


BUILT = [
    {"architecture_args": '{"pretrained":true}'},
    {"architecture_args": '{"depth":"os.system"}'},
    {"architecture_args": '{"depth":99999999}'},
    {"architecture_args": '{"depth":true}'},
    {"architecture": "os:system"},
    {"architecture": "nets:../../x"},
    {"architecture": "nets:__init__"},
    {"architecture": "timm:hf-hub:someone/model"},
    {"architecture": "timm:local-dir:/tmp"},
    {"architecture": "torchvision:../../x"},
    {"architecture": "torchvision:resnet18", "architecture_args": '{"weights":"DEFAULT"}'},
    {"architecture": "pytorchcv:resnet20_cifar10", "architecture_args": '{"pretrained":true}'},
    {"architecture": "pytorchcv:resnet20_cifar10", "architecture_args": '{"root":"/etc"}'},
    {"architecture": "fastervit:faster_vit_0_224", "architecture_args": '{"model_path":"/etc/passwd"}'},
    {"architecture": "fastervit:_load_checkpoint"},
    {"architecture": "pytorch_ood:load_model"},
    {"architecture": "pytorch_ood:WideResNet", "architecture_args": '{"depth":"x"}'},
]


@pytest.mark.parametrize("columns", BUILT, ids=lambda one: " ".join(one.values()))
def test_no_record_builds_anything_else(columns: dict[str, str]) -> None:
    with pytest.raises(SecurityNetError, match="akamaster/resnet20: "):
        build_network(Entry.from_record({**GOOD, "architecture_args": None, **columns}))


@pytest.mark.parametrize("loader", ["os", "../checkpoint", "_weights", "nets", "checkpoint.load", "securitynet.loaders.timm"])
def test_no_record_names_another_loader(loader: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown loader"):
        load(Entry.from_record({**GOOD, "loader": loader}), Files(tmp_path, offline=True, progress=False))


@pytest.mark.parametrize(
    "columns",
    [
        {"weights_url": "file:///etc/passwd"},
        {"weights_url": "http://169.254.169.254/latest", "weights_hash": None, "integrity": "none", "hash_algorithm": None},
        {"weights_url": "ftp://example.org/x.pth"},
        {"weights_url": None},
    ],
    ids=str,
)
def test_no_record_fetches_from_elsewhere(columns: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SecurityNetError):
        fetch(Entry.from_record({**GOOD, **columns}), Files(tmp_path, offline=False, progress=False))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size and path.name != "lock"]


@pytest.mark.parametrize(
    "record", [{**GOOD, "code": "import os"}, {**GOOD, "output": "exec"}, {**GOOD, "mean": "0.5"}, {**GOOD, "params": True}]
)
def test_no_record_has_other_columns_or_types(record: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="akamaster/resnet20: "):
        Entry.from_record(record)
