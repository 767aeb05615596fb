"""Importers of installed libraries: nothing changes where nothing did, and no known fact is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from securitynet import catalog
from securitynet.cli import main
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.importers.packages import WITHDRAWN, import_package, mmpretrain, names, torchvision
from securitynet.maintenance import records

CATALOG = Path(str(catalog.__file__)).parent


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """A folder with the file of one source, to spoil."""

    def copy(source: str) -> Path:
        (tmp_path / "models").mkdir(exist_ok=True)
        return Path(shutil.copy(CATALOG / "models" / f"{source}.jsonl", tmp_path / "models"))

    return copy


def test_sources() -> None:
    assert names() == ["mmpretrain", "pytorchcv", "timm", "torchvision"]
    with pytest.raises(UsageError, match="did you mean timm"):
        import_package("tim", CATALOG)


@pytest.mark.parametrize(("source", "made_from"), [("mmpretrain", "1.2.0"), ("pytorchcv", "0.0.74"), ("timm", "1.0.31")])
def test_the_same_library_changes_no_byte(source: str, made_from: str, copied: Callable[[str], Path]) -> None:
    try:
        installed = version(source)
    except PackageNotFoundError:
        pytest.skip(f"{source} is not installed")
    if installed != made_from:
        pytest.skip(f"{source} {installed} is installed, the catalog was made from {made_from}")
    path = copied(source)
    before = path.read_bytes()
    report = import_package(source, path.parents[1])
    assert (report.added, report.removed, report.changed) == ((), (), {}) and not report.written and path.read_bytes() == before
    assert report.unchanged == len(before.splitlines()) >= 430


INDEX = """
Collections:
  - {Name: MFF, Paper: {Title: A paper, URL: https://arxiv.org/abs/2302.00000}}
Models:
  - Name: mff_in1k
    Metadata: {FLOPs: 17581972224, Parameters: 86570000}
    In Collection: MaskFeat
    Results: [{Task: Image Classification, Dataset: ImageNet-1k, Metrics: {Top 1 Accuracy: 83.61, Top 5 Accuracy: 96.1}}]
    Weights: https://download.openmmlab.com/mff_20230101-0123abcd.pth
  - {Name: backbone, In Collection: MFF, Results: null, Weights: https://download.openmmlab.com/backbone.pth}
  - Name: caption
    In Collection: MFF
    Results: [{Task: Image Caption, Dataset: COCO, Metrics: {CIDEr: 80.1}}]
    Weights: https://download.openmmlab.com/caption.pth
  - Name: resnet18_cifar10
    In Collection: MFF
    Results: [{Task: Image Classification, Dataset: CIFAR-10, Metrics: {Top 1 Accuracy: 94.82}}]
    Weights: https://download.openmmlab.com/resnet18.pth
"""


def test_mmpretrain_is_read_from_its_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is found, not imported: its `__init__` would need its other libraries."""
    place = tmp_path / "mmpretrain" / ".mim" / "configs" / "mff"
    place.mkdir(parents=True)
    (place / "metafile.yml").write_text(INDEX)
    (tmp_path / "mmpretrain" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(str(tmp_path))
    stated = {record["name"]: Entry.from_record(record) for record in mmpretrain.facts()}
    assert set(stated) == {"mff_in1k", "resnet18_cifar10"}
    first, second = stated["mff_in1k"], stated["resnet18_cifar10"]
    assert (first.architecture, first.paper_title, first.macs, first.params) == ("MFF", None, 17581972224, None)
    assert (first.claimed_accuracy, first.claimed_split, first.weights_hash, first.integrity) == (0.8361, "val", "0123abcd", "prefix")
    assert (second.dataset, second.num_classes, second.claimed_accuracy, second.integrity) == ("CIFAR-10", 10, 0.9482, "none")


def test_torchvision_states_what_the_catalog_holds(copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small architectures only: the whole list is built once for its arguments, which takes most of a minute."""
    from torchvision import models

    monkeypatch.setattr(models, "list_models", lambda module: ["squeezenet1_0", "vgg16", "mobilenet_v2"])
    stated = {record["id"]: record for record in torchvision.facts()}
    assert set(stated) == {
        "torchvision/squeezenet1_0.IMAGENET1K_V1", "torchvision/vgg16.IMAGENET1K_V1", "torchvision/vgg16.IMAGENET1K_FEATURES",
        "torchvision/mobilenet_v2.IMAGENET1K_V1", "torchvision/mobilenet_v2.IMAGENET1K_V2",
    }  # fmt: skip
    for id, record in stated.items():
        known, typed = catalog.entry(id).to_record(), Entry.from_record(record).to_record()
        assert {key: typed[key] for key, value in record.items() if value is not None and known[key] != typed[key]} == {}


def test_what_changes_is_named_and_nothing_is_lost(copied: Callable[[str], Path]) -> None:
    path = copied("pytorchcv")
    found = {record["name"]: record for record in records.read(path)}
    before = path.read_bytes()
    del found["alexnet"]
    found["resnet10"] |= {"weights_hash": "0" * 40, "notes": "ours"}
    found["resnet12"] |= {"venue": "Nowhere"}
    found["zzz"] = {**found["resnet12"], "id": "pytorchcv/zzz", "name": "zzz", "architecture": "pytorchcv:zzz"}
    path.write_text(records.text_of(found.values()), encoding="utf-8")
    report = import_package("pytorchcv", path.parents[1])
    assert (report.added, report.removed, report.changed) == (
        ("pytorchcv/alexnet",), ("pytorchcv/zzz",), {"pytorchcv/resnet10": ("weights_hash",)}
    )  # fmt: skip
    after = {record["name"]: record for record in records.read(path)}
    original = {record["name"]: record for record in map(json.loads, before.decode().splitlines())}
    assert after["resnet10"]["weights_hash"] == original["resnet10"]["weights_hash"] and after["resnet10"]["notes"] == "ours"
    assert after["resnet12"]["venue"] == "Nowhere"  # the library does not state it
    assert after["zzz"]["flags"][-1] == WITHDRAWN and after["zzz"]["weights_url"] == found["zzz"]["weights_url"]
    again = import_package("pytorchcv", path.parents[1])
    assert not again.written and again.removed == () and again.changed == {}


def test_the_command(copied: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = copied("pytorchcv")
    folder = str(path.parents[1])
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]), encoding="utf-8")
    assert main(["catalog", "import", "pytorchcv", "--catalog", folder, "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (len(report["added"]), report["unchanged"], report["written"]) == (1, 538, True)
    assert main(["catalog", "import", "pytorchcv", "--catalog", folder]) == 0
    assert "nothing: all was there already" in capsys.readouterr().out
    assert main(["catalog", "import", "pytorchcv", "x.md", "--catalog", folder]) == 2
    assert main(["catalog", "import", "securitynet-2024", "--catalog", folder]) == 2
    assert main(["catalog", "import", "keras", "--catalog", folder]) == 2
    assert "unknown source 'keras'; " in capsys.readouterr().err
