"""Loaders: from an id, a file, a folder or a library's name to a Target that answers as the original."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from web import Web, serve

from securitynet import catalog, loaders
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import DownloadError, LoadError, SecurityNetError, UsageError
from securitynet.loaders import load, load_model, names
from securitynet.loaders.nets.cifar_resnet import cifar_resnet

BUILTIN = Path(str(catalog.__file__)).parent / "builtin"
SHORT = {"architecture": "nets:cifar_resnet", "architecture_args": {"depth": 8}, "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serve() as running:
        yield running


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[Path, nn.Module]:
    """A local file of a small network, and the network."""
    torch.manual_seed(0)
    network = cifar_resnet(8).eval()
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in network.state_dict().items()}, "acc": 0.9}, tmp_path / "mine.th"
    )
    return tmp_path / "mine.th", network


def failure(kind: type[SecurityNetError], model: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_model(model, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def entry_of(**columns: Any) -> Entry:
    record = {"id": "source/name", "source": "source", "name": "name", "num_classes": 10, "input_size": [3, 32, 32]}
    return Entry.from_record(record | columns)


def test_names_are_the_modules() -> None:
    assert {"builtin", "checkpoint", "pytorchcv", "timm", "torchvision", "transformers"} <= set(names())
    assert not {"nets", "_weights", "_state"} & set(names())


@pytest.mark.parametrize("wrapped", [True, False])
def test_packages_add_loaders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrapped: bool) -> None:
    """An entry point is a module with load(), or the function itself."""

    def theirs(entry: Entry, files: Files) -> str:
        return f"{entry.id} from {files.cache}"

    point = SimpleNamespace(name="theirs", load=lambda: SimpleNamespace(load=theirs) if wrapped else theirs)
    monkeypatch.setattr(loaders, "entry_points", lambda group: [point] if group == "securitynet.loaders" else [])
    assert "theirs" in names()
    assert load(entry_of(loader="theirs"), Files(tmp_path)) == f"source/name from {tmp_path}"


@pytest.mark.parametrize(
    ("columns", "kind", "words"),
    [
        ({"task": "multi-label", "loader": "checkpoint"}, LoadError, "multi-label"),
        ({"loadable": False, "loadable_reason": "the file is gone"}, LoadError, "the file is gone"),
        ({}, LoadError, "names no loader"),
        ({"loader": "checkpont"}, UsageError, "did you mean checkpoint"),
        ({"loader": "checkpoint"}, UsageError, "is none of .*nets:NAME"),
        ({"loader": "checkpoint", "architecture": "os:system"}, UsageError, "is none of .*nets:NAME"),
        ({"loader": "checkpoint", "architecture": "nets:cifar_resnet", "num_classes": None}, LoadError, "lacks num_classes"),
    ],
)
def test_entries_that_cannot_be_loaded(tmp_path: Path, columns: dict[str, Any], kind: type[SecurityNetError], words: str) -> None:
    with pytest.raises(kind, match=words):
        load(entry_of(**columns), Files(tmp_path))


def test_a_local_checkpoint(checkpoint: tuple[Path, nn.Module], tmp_path: Path) -> None:
    path, network = checkpoint
    target = load_model(path, entry=SHORT | {"dataset": "cifar10"}, cache_dir=tmp_path)
    entry = target.entry
    assert (entry.id, entry.dataset, entry.num_classes, entry.input_size, entry.loader) == (
        "local/mine",
        "CIFAR-10",
        10,
        (3, 32, 32),
        "checkpoint",
    )
    assert target.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    pixels = torch.rand(4, 3, 32, 32)
    assert torch.equal(target.module(pixels), network((pixels - 0.5) / 0.25))
    assert not any(parameter.requires_grad for parameter in target.module.parameters())


def test_an_entry_and_a_whole_record(checkpoint: tuple[Path, nn.Module], tmp_path: Path) -> None:
    path, _ = checkpoint
    record = entry_of(loader="checkpoint", state_key="state_dict", drop_prefixes=["module."], **SHORT).to_record()
    for given in (record, Entry.from_record(record)):
        assert load_model(str(path), entry=given, cache_dir=tmp_path).entry.id == "source/name"
    wrong = record | {"weights_hash": "0" * 64, "hash_algorithm": "sha256"}
    assert "not the file that the entry source/name records" in failure(DownloadError, path, entry=wrong, cache_dir=tmp_path)


def test_missing_facts_are_asked_for_by_name(checkpoint: tuple[Path, nn.Module]) -> None:
    path, _ = checkpoint
    text = failure(UsageError, path)
    assert "lacks architecture, num_classes, input_size, mean, std" in text and "--input-size CHANNELS HEIGHT WIDTH" in text
    given = {key: value for key, value in SHORT.items() if key != "std"}
    assert "lacks num_classes, input_size, std;" in failure(UsageError, path, entry=given)
    assert "lacks num_classes, input_size;" in failure(UsageError, path, entry=SHORT | {"dataset": "my own"})
    assert "unknown column" in failure(UsageError, path, entry=SHORT | {"dataset": "CIFAR-10", "depth": 20})


def test_wrong_facts_are_named(checkpoint: tuple[Path, nn.Module], tmp_path: Path) -> None:
    path, _ = checkpoint
    assert "the weights have 10 classes, the entry says 100" in failure(LoadError, path, entry=SHORT | {"dataset": "CIFAR-100"})
    deeper = SHORT | {"dataset": "CIFAR-10", "architecture_args": {"depth": 20}}
    assert "missing: layer1.1.conv1.weight" in failure(LoadError, path, entry=deeper)
    path.write_bytes(path.read_bytes()[:5000])
    assert "damaged or truncated" in failure(LoadError, path, entry=SHORT | {"dataset": "CIFAR-10"})


def test_paths_and_ids_that_lead_nowhere(tmp_path: Path) -> None:
    for model in (str(tmp_path / "absent"), "./absent", "absent.pth"):
        assert "no such file" in failure(UsageError, model)
    assert "did you mean akamaster/resnet20" in failure(UsageError, "akamaster/resnet21")
    assert "unknown timm model" in failure(UsageError, "timm:resnet")
    assert "a1_in1k" in failure(UsageError, "timm:resnet18.a9_in1k")
    assert "unknown torchvision architecture" in failure(UsageError, "torchvision:resnet")
    assert "features, not classes" in failure(LoadError, "torchvision:vgg16.IMAGENET1K_FEATURES")


def test_a_catalog_entry_from_its_address(web: Web, checkpoint: tuple[Path, nn.Module], tmp_path: Path) -> None:
    """The columns given with an id go before the catalog's."""
    path, network = checkpoint
    url = web.put("/mine.th", path.read_bytes())
    given = {"weights_url": url, "weights_hash": hashlib.sha256(path.read_bytes()).hexdigest(), "weights_size": path.stat().st_size}
    target = load_model("akamaster/resnet20", entry=given | {"architecture_args": {"depth": 8}}, cache_dir=tmp_path, progress=False)
    assert target.entry.id == "akamaster/resnet20"
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(target.module(pixels), network((pixels - mean) / std))
    assert "no network is to be used" in failure(DownloadError, "akamaster/resnet44", offline=True, cache_dir=tmp_path)


def test_a_folder_in_timms_format(tmp_path: Path) -> None:
    """The built-in models are such folders: what the general loader makes of one is what the built-in loader makes of it."""
    folder = BUILTIN / "digits-regular"
    target, known = load_model(folder, cache_dir=tmp_path), load_model("builtin/digits-regular", cache_dir=tmp_path)
    same = ("architecture", "num_classes", "input_size", "mean", "std", "dataset", "interpolation", "crop", "members_file")
    assert {name: getattr(target.entry, name) for name in same} == {name: getattr(known.entry, name) for name in same}
    assert (target.entry.id, target.folder) == ("local/digits-regular", folder)
    assert target.entry.claimed_accuracy == pytest.approx(known.entry.claimed_accuracy, abs=1e-4)
    assert target.weights_sha256 == known.weights_sha256
    inside, pixels = load_model(folder / "model.safetensors", cache_dir=tmp_path), torch.rand(4, 1, 32, 32)
    assert torch.equal(target.module(pixels), known.module(pixels))
    assert torch.equal(inside.module(pixels), known.module(pixels))


def test_class_names_in_another_order(tmp_path: Path) -> None:
    folder = tmp_path / "reversed"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (folder / name).write_bytes((BUILTIN / "digits-regular" / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"label_names": list("9876543210")}))
    target, known = load_model(folder, cache_dir=tmp_path), load_model("builtin/digits-regular", cache_dir=tmp_path)
    pixels = torch.rand(2, 1, 32, 32)
    assert torch.equal(target.module(pixels), known.module(pixels).flip(1))


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"architecture": "resnet99"}, UsageError, "unknown timm architecture"),
        ({"num_classes": 7}, LoadError, "the weights have 10 classes, the entry says 7"),
        ({"model_args": {"pretrained": True}}, UsageError, "unknown argument of timm:resnet10t 'pretrained'"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, UsageError, "unknown argument"),
    ],
)
def test_folders_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], kind: type[SecurityNetError], words: str) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((BUILTIN / "digits-regular" / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    assert words in failure(kind, tmp_path, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00"])
def test_configs_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert "config.json" in failure(LoadError, tmp_path)
