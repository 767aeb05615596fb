"""Models of timm, torchvision and pytorchcv: built by the library, fetched and read by us, answering as the original."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from web import Web, serve

from securitynet import catalog
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.errors import DownloadError, LoadError, SecurityNetError
from securitynet.loaders import load, load_model
from securitynet.loaders._architectures import build_network


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serve() as running:
        yield running


def failure(kind: type[SecurityNetError], model: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_model(model, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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
    assert describe("vit_b_16.IMAGENET1K_SWAG_E2E_V1")["resize"] == 384
    assert describe("resnet18")["weights_hash"] == "f37072fd" and describe("resnet18")["integrity"] == "prefix"


def test_timm_registry_facts() -> None:
    from securitynet.loaders.timm import describe

    facts = describe("resnet18.a1_in1k")
    data = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg("resnet18.a1_in1k").to_dict(), use_test_size=True)
    transform = timm.data.create_transform(**data, is_training=False)
    assert facts["resize"] == transform.transforms[0].size == 288
    assert (facts["dataset"], facts["hub_id"], facts["licence"]) == ("ImageNet-1k", "timm/resnet18.a1_in1k", "apache-2.0")
    assert (facts["mean"], facts["interpolation"], facts["paper_url"]) == (
        [0.485, 0.456, 0.406],
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
