"""Loaders: from an id, a file, a folder or a library's name to a Target that answers as the original."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from web import Web, serve

from securitynet import catalog, loaders
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import DownloadError, LoadError, SecurityNetError, UsageError
from securitynet.loaders import load, load_model, names
from securitynet.loaders._architectures import build_network
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
        ({"loader": "checkpoint"}, UsageError, "is none of nets:NAME"),
        ({"loader": "checkpoint", "architecture": "os:system"}, UsageError, "is none of nets:NAME"),
        ({"loader": "checkpoint", "architecture": "nets:cifar_resnet", "num_classes": None}, LoadError, "lacks num_classes"),
    ],
)
def test_entries_that_cannot_be_loaded(tmp_path: Path, columns: dict[str, Any], kind: type[SecurityNetError], words: str) -> None:
    with pytest.raises(kind, match=words):
        load(entry_of(**columns), Files(tmp_path))


def arguments(architecture: str, **given: Any) -> str:
    with pytest.raises(SecurityNetError) as caught:
        build_network(entry_of(architecture=architecture, architecture_args=given))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("architecture", ["timm:resnet10t", "torchvision:resnet18", "pytorchcv:resnet20_cifar10", "nets:cifar_resnet"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pretrained", True),
        ("checkpoint_path", "/etc/passwd"),
        ("weights", "IMAGENET1K_V1"),
        ("root", "/"),
        ("features_only", True),
        ("pretrained_cfg_overlay", {"url": "http://x"}),
        ("self", 1),
    ],
)
def test_arguments_outside_the_constructor_are_refused(architecture: str, name: str, value: Any) -> None:
    assert f"unknown argument of {architecture} '{name}'" in arguments(architecture, **{name: value})


def test_values_outside_the_allowed_types_are_refused() -> None:
    assert "takes no text" in arguments("timm:resnet10t", block="os.system")
    assert "unknown word 'evil'" in arguments("timm:resnet10t", act_layer="evil")
    assert "must be a number" in arguments("timm:resnet10t", stem_width=10**9)
    assert "must be a number" in arguments("timm:resnet10t", channels=[[1, 2], "x"])
    assert "must be a number" in arguments("timm:resnet10t", channels={"a": 1})
    assert "must be int" in arguments("nets:cifar_resnet", depth=20.0)
    assert "must be int" in arguments("nets:cifar_resnet", depth=True)
    assert "did you mean acs" in arguments("nets:medmnist_resnet", kind="ac")
    assert "did you mean depth" in arguments("nets:cifar_resnet", dept=20)
    assert "num_classes is 10, its architecture_args say 7" in arguments("nets:cifar_resnet", num_classes=7)
    assert "cannot be built" in arguments("nets:cifar_resnet", depth=21)
    assert "cannot be built" in arguments("torchvision:resnet18", block=3)


@pytest.mark.parametrize(
    ("architecture", "near"),
    [
        ("timm:resnet10", "resnet10t"),
        ("torchvision:resnet19", "resnet18"),
        ("pytorchcv:resnet20_cifar", "resnet20_cifar10"),
        ("nets:cifar_resnets", "cifar_resnet"),
        ("timm:hf-hub:evil/repo", "timm architecture"),
        ("nets:../evil", "nets architecture"),
    ],
)
def test_unknown_architectures_have_neighbours(architecture: str, near: str) -> None:
    assert near in arguments(architecture)


def test_input_shapes_reach_the_network() -> None:
    grey = entry_of(input_size=[1, 28, 28])
    for architecture in ("timm:resnet10t", "pytorchcv:resnet20_cifar10", "nets:badnet_cnn"):
        first = next(build_network(replace(grey, architecture=architecture)).parameters())
        assert first.shape[1] == 1, architecture
    small = build_network(entry_of(architecture="timm:test_vit", architecture_args={"patch_size": 4}))
    assert small(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


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


def test_pytorchcv_from_a_zip(web: Web, tmp_path: Path) -> None:
    get_model = pytest.importorskip("pytorchcv.model_provider").get_model
    entry = catalog.entry("pytorchcv/resnet20_cifar10")
    network = get_model("resnet20_cifar10", pretrained=False).eval()
    torch.save(network.state_dict(), tmp_path / "member.pth")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "member.pth", entry.archive_member)
    digest = hashlib.sha1((tmp_path / "member.pth").read_bytes()).hexdigest()
    given = {"weights_url": web.put("/a.zip", (tmp_path / "a.zip").read_bytes()), "weights_hash": digest}
    target = load_model(entry.id, entry=given, cache_dir=tmp_path / "cache", progress=False)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (entry.mean, entry.std))
    pixels = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(target.module(pixels), network((pixels - mean) / std))
    given["weights_hash"] = "0" * 40
    assert "wrong hash" in failure(DownloadError, entry.id, entry=given, cache_dir=tmp_path / "other", progress=False)


def test_pytorchcv_heads_that_the_arguments_switch_off(tmp_path: Path) -> None:
    """The published file of this network holds a head that only training uses; any other spare key stays an error."""
    get_model = pytest.importorskip("pytorchcv.model_provider").get_model
    entry = catalog.entry("pytorchcv/ntsnet_cub")
    state = get_model("ntsnet_cub", pretrained=False, aux=True).state_dict()
    torch.save(state, tmp_path / "a.pth")
    local = {"weights_hash": None, "archive_member": None}
    bare = Entry.from_record(entry.to_record() | local)
    assert load(bare, Files(tmp_path, local=tmp_path / "a.pth")).num_classes == 200
    torch.save({**state, "spare": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(LoadError, match="1 unexpected: spare"):
        load(bare, Files(tmp_path, local=tmp_path / "a.pth"))


def test_torchvision_weights_by_name(web: Web, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision").models
    network = models.get_model("shufflenet_v2_x0_5", weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    given = {
        "weights_url": web.put("/tv.pth", (tmp_path / "a.pth").read_bytes()),
        "weights_hash": hashlib.sha256((tmp_path / "a.pth").read_bytes()).hexdigest(),
    }
    target = load_model("torchvision:shufflenet_v2_x0_5", entry=given, cache_dir=tmp_path, progress=False)
    entry = target.entry
    assert entry.id == "torchvision/shufflenet_v2_x0_5.IMAGENET1K_V1"
    assert (entry.input_size, entry.resize, entry.interpolation, entry.claimed_accuracy) == ((3, 224, 224), 256, "bilinear", 0.60552)
    preset = models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.transforms()
    pixels = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(
            target.module(pixels), network((pixels - torch.tensor(preset.mean).view(-1, 1, 1)) / torch.tensor(preset.std).view(-1, 1, 1))
        )


def test_torchvision_builds_as_the_library_does_for_its_weights() -> None:
    """`transform_input` and the image size are what torchvision's own functions set together with weights."""
    pytest.importorskip("torchvision")
    from securitynet.loaders.torchvision import describe

    facts = describe("googlenet")
    assert facts["architecture_args"] == {"transform_input": True, "init_weights": False}
    assert build_network(Entry.from_record({"id": "x", **facts})).transform_input is True
    assert describe("vit_b_16.IMAGENET1K_SWAG_E2E_V1")["architecture_args"] == {"image_size": 384}
    assert describe("vit_b_16.IMAGENET1K_SWAG_E2E_V1")["resize"] is None
    assert describe("resnet18")["weights_hash"] == "f37072fd" and describe("resnet18")["integrity"] == "prefix"


def test_timm_registry_facts() -> None:
    from securitynet.loaders.timm import describe

    facts = describe("resnet18.a1_in1k")
    data = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg("resnet18.a1_in1k").to_dict())
    transform = timm.data.create_transform(**data, is_training=False)
    assert facts["resize"] == transform.transforms[0].size == 235
    assert (facts["dataset"], facts["hub_id"], facts["licence"]) == ("ImageNet-1k", "timm/resnet18.a1_in1k", "apache-2.0")
    assert (facts["mean"], facts["interpolation"], facts["paper_url"]) == (
        (0.485, 0.456, 0.406),
        "bicubic",
        "https://arxiv.org/abs/2110.00476",
    )
    assert describe("gcvit_tiny.in1k")["weights_url"].startswith("https://")
    with pytest.raises(LoadError, match="features, not classes"):
        describe("vit_small_patch14_dinov2.lvd142m")


def test_timm_weights_in_an_old_layout(tmp_path: Path) -> None:
    """Flattened patch embeddings, as in older checkpoints of vision transformers, pass through timm's own filter."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=10).eval()
    state = network.state_dict()
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1)
    save_file(state, tmp_path / "model.safetensors")
    facts = {"architecture": "timm:test_vit", "loader": "timm", "num_classes": 10, "input_size": [3, 160, 160], "mean": [0.0], "std": [1.0]}
    target = load_model(tmp_path / "model.safetensors", entry=facts, cache_dir=tmp_path)
    pixels = torch.rand(1, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(target.module(pixels), network(pixels))
    save_file({name: tensor for name, tensor in state.items() if "blocks.1" not in name}, tmp_path / "model.safetensors")
    assert "missing" in failure(LoadError, tmp_path / "model.safetensors", entry=facts, cache_dir=tmp_path)


def test_a_folder_in_timms_format(tmp_path: Path) -> None:
    """The built-in models are such folders: what the general loader makes of one is what the built-in loader makes of it."""
    folder = BUILTIN / "digits-regular"
    target, known = load_model(folder, cache_dir=tmp_path), load_model("builtin/digits-regular", cache_dir=tmp_path)
    same = ("architecture", "num_classes", "input_size", "mean", "std", "dataset", "interpolation", "crop", "resize", "members_file")
    assert {name: getattr(target.entry, name) for name in same} == {name: getattr(known.entry, name) for name in same}
    assert (target.entry.id, target.folder) == ("local/digits-regular", folder)
    assert target.entry.claimed_accuracy == pytest.approx(known.entry.claimed_accuracy, abs=1e-4)
    assert target.weights_sha256 == known.weights_sha256
    assert target.fingerprint == known.fingerprint
    inside = load_model(folder / "model.safetensors", cache_dir=tmp_path)
    assert inside.fingerprint == known.fingerprint


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
