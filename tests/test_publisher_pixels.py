"""What a network is fed is what its publisher's own code feeds it: compared with the libraries, in their own repos."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from publisher_repos import CLASSES, FAMILIES, distances, fed, photographs, saved_processor, write

from securitynet import catalog
from securitynet.data.pixels import pictures
from securitynet.data.processor import quietly
from securitynet.data.published import Published, made
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import DataError, LoadError
from securitynet.loaders import load_model
from securitynet.maintenance.pixels import PUBLISHERS, compare

transformers = pytest.importorskip("transformers")
pytest.importorskip("torchvision")
EDGE, BOX = {"shortest_edge": 72}, {"height": 64, "width": 64}
ON = {"do_resize": True, "do_rescale": True, "do_normalize": True}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with quietly():
        yield


def same(folder: Path, tmp_path: Path) -> Any:
    """Load a folder; its pixels must be the publisher's, mean 0.2 and largest 1 of 255. Return the target."""
    target = load_model(folder, cache_dir=tmp_path / "cache", progress=False)
    for name, mean, largest in distances(target, fed(folder)):
        assert mean <= 0.2 and largest <= 1, (name, mean, largest)
    return target


SAVED = [  # family, class of the processor, settings that fit the family's network
    ("vit", "ViTImageProcessor", {"size": BOX}),
    ("vit", "ViTImageProcessor", {"size": [64, 64], "image_mean": 0.45, "image_std": 0.26}),
    ("vit", "ViTImageProcessor", {"size": {"height": 48, "width": 56}, "do_pad": True, "pad_size": BOX, "image_mean": [0.4, 0.3, 0.2]}),
    ("vit", "ViTImageProcessor", {"size": BOX, "do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3}),
    ("vit", "ViTImageProcessor", {"size": BOX, "do_normalize": False}),
    ("vit", "CLIPImageProcessor", {"size": {"shortest_edge": 67}, "crop_size": 64}),
    ("deit", "DeiTImageProcessor", {"size": 75, "crop_size": 64}),
    ("deit-teacher", "DeiTImageProcessor", {"size": {"height": 70, "width": 90}, "crop_size": BOX}),
    ("beit", "BeitImageProcessor", {"size": BOX, "do_center_crop": False, "image_mean": [0.5] * 3}),
    ("data2vec", "BeitImageProcessor", {"size": 71, "crop_size": 64, "do_center_crop": True}),
    ("vit-msn", "ViTImageProcessor", {"size": 64, "resample": 3}),
    ("ijepa", "ViTImageProcessor", {"size": 64, "resample": 0}),
    ("dinov2", "BitImageProcessor", {"size": {"shortest_edge": 61}, "crop_size": {"height": 56, "width": 56}}),
    ("dinov2-registers", "BitImageProcessor", {"size": {"shortest_edge": 60}, "crop_size": 56}),
    ("swin", "ViTImageProcessor", {"size": BOX, "resample": 3, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}),
    ("swinv2", "ViTImageProcessor", {"size": BOX, "resample": 3}),
    ("hiera", "BitImageProcessor", {"size": EDGE, "crop_size": BOX}),
    ("focalnet", "BitImageProcessor", {"size": EDGE, "crop_size": BOX}),
    ("convnext", "ConvNextImageProcessor", {"size": EDGE, "crop_pct": 0.9}),
    ("convnextv2", "ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    ("resnet", "ConvNextImageProcessor", {"size": {"shortest_edge": 96}}),
    ("regnet", "ConvNextImageProcessor", {"size": {"shortest_edge": 100}, "crop_pct": 0.95}),
    ("cvt", "ConvNextImageProcessor", {"size": {"shortest_edge": 64}}),
    ("bit", "BitImageProcessor", {"size": {"shortest_edge": 80}, "crop_size": {"height": 80, "width": 80}}),
    ("poolformer", "PoolFormerImageProcessor", {"size": EDGE, "crop_pct": 0.85, "crop_size": BOX}),
    ("pvt-v2", "PvtImageProcessor", {"size": BOX}),
    ("mobilenet-v1", "MobileNetV1ImageProcessor", {"size": {"shortest_edge": 111}, "crop_size": {"height": 96, "width": 96}}),
    ("mobilenet-v2", "MobileNetV2ImageProcessor", {"size": {"shortest_edge": 99}, "crop_size": 96}),
    ("mobilevit", "MobileViTImageProcessor", {"size": {"shortest_edge": 144}, "crop_size": {"height": 128, "width": 128}}),
    ("mobilevitv2", "MobileViTImageProcessor", {"size": 112, "crop_size": 128}),
    ("efficientnet", "EfficientNetImageProcessor", {"size": [96, 96], "include_top": True, "image_std": [0.4, 0.5, 0.6]}),
    ("efficientnet", "EfficientNetImageProcessor", {"size": 96, "rescale_offset": True, "rescale_factor": 1 / 127.5, "do_normalize": False,
                                                   "include_top": False}),
    ("levit", "LevitImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": BOX}),
    ("levit-teacher", "LevitImageProcessor", {"size": 64, "crop_size": 64}),
    ("swiftformer", "ViTImageProcessor", {"size": BOX}),
    ("segformer", "SegformerImageProcessor", {"size": BOX}),
    ("clip", "CLIPImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": BOX}),
    ("siglip", "SiglipImageProcessor", {"size": BOX}),
    ("perceiver", "PerceiverImageProcessor", {"size": {"height": 32, "width": 32}, "crop_size": {"height": 36, "width": 40}}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "name", "settings"), SAVED, ids=[f"{number}-{one[0]}" for number, one in enumerate(SAVED)])
def test_repos_that_transformers_saved(family: str, name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """Pixels as the repo's own processor makes them, logits to the bit as the repo's own network gives them."""
    folder = write(tmp_path / family, family, None)
    saved_processor(folder, name, **settings)
    target = same(folder, tmp_path)
    kind = getattr(transformers, CLASSES.get(family, "AutoModelForImageClassification"))
    pixels = torch.rand(2, *target.entry.input_size)
    with torch.inference_mode():
        theirs = kind.from_pretrained(folder).eval()(pixel_values=target.module[0](pixels)).logits
        torch.testing.assert_close(target.module(pixels), theirs, rtol=0, atol=1e-9)
    assert Transform.of(target.entry).description == f"transformers torchvision {name}"


@pytest.mark.parametrize(
    "stated",
    [
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 64, "do_resize": True, "do_normalize": True, "resample": 2},
        {"feature_extractor_type": "DeiTFeatureExtractor", "size": 75, "crop_size": 64, "do_center_crop": True, "resample": 3},
        {"image_processor_type": "ViTImageProcessorFast", "size": BOX},
        {"image_processor_type": "ConvNextImageProcessor"},
        {"image_processor_type": "CLIPImageProcessor", "size": {"height": 70, "width": 90}, "crop_size": BOX},
        {"image_processor_type": "BitImageProcessor", "size": 67, "crop_size": [64, 64], "rescale_factor": 1 / 127.5},
        {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": False},
        {"size": BOX, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]},
    ],
    ids=str,
)
def test_configs_of_older_releases_and_missing_keys(stated: dict[str, Any], tmp_path: Path) -> None:
    """A key that is missing has the default of its class; older names and whole numbers are what the class takes them for."""
    same(write(tmp_path / "repo", "beit", stated), tmp_path)


@pytest.mark.parametrize(
    ("family", "side"), [("vit", 64), ("deit", 64), ("levit", 64), ("mobilevit", 128), ("convnext", 224), ("clip", 64)]
)
def test_no_processor_means_the_defaults_of_the_class(family: str, side: int, tmp_path: Path) -> None:
    target = load_model(write(tmp_path / "repo", family, None), cache_dir=tmp_path, progress=False)
    assert target.entry.input_size == (3, side, side)
    rule = Transform.of(target.entry)
    assert rule.description.endswith("class defaults (the repo has no preprocessor_config.json)")
    for picture in photographs().values():
        assert target.module(torch.from_numpy(rule(picture)).float().div(255)[None]).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "given", "config"),
    [
        ("levit_128s", {}, {}),
        ("deit_tiny_distilled_patch16_224", {"depth": 1}, {"crop_pct": 1.0}),
        ("vit_tiny_patch16_224", {"depth": 1, "img_size": 96}, {"interpolation": "bilinear", "crop_pct": 0.95}),
        ("vit_tiny_patch16_224", {"depth": 1, "act_layer": "relu", "norm_layer": "rmsnorm", "pos_embed": "none", "reg_tokens": 2}, {}),
        ("resnet10t", {"channels": [8, 8, 16, 16]}, {"crop_pct": 0.56, "input_size": [3, 112, 112]}),
        ("resnet10t", {"channels": [8, 8, 16, 16]}, {"crop_mode": "border", "mean": [0.2, 0.4, 0.6]}),
        ("resnet10t", {"channels": [8, 8, 16, 16]}, {"crop_mode": "squash", "crop_pct": 0.91}),
        ("resnet10t", {"channels": [8, 8, 16, 16]}, {"input_size": [3, 96, 128], "crop_pct": 0.8}),
    ],
)
def test_repos_that_timm_saved(name: str, given: dict[str, Any], config: dict[str, Any], tmp_path: Path) -> None:
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=4, **given).eval()
    network.pretrained_cfg = {**network.pretrained_cfg, **config}
    save_for_hf(network, str(tmp_path / "repo"), model_args=given, safe_serialization=True)
    target = same(tmp_path / "repo", tmp_path)
    pixels = torch.rand(1, *target.entry.input_size)
    with torch.inference_mode():
        torch.testing.assert_close(target.module(pixels), network(target.module[0](pixels)), rtol=0, atol=1e-9)


def test_a_timm_network_that_transformers_wrote(tmp_path: Path) -> None:
    config = transformers.TimmWrapperConfig.from_dict({"architecture": "resnet10t", "model_args": {"stem_width": 8}, "num_classes": 3,
                                                       "pretrained_cfg": {"input_size": [3, 64, 64], "crop_pct": 0.9}})  # fmt: skip
    transformers.TimmWrapperForImageClassification(config).save_pretrained(tmp_path / "repo")
    same(tmp_path / "repo", tmp_path)


def test_rows_say_what_decided_the_pixels(tmp_path: Path) -> None:
    """Each row has the id and the name of the rule; a note of verify compares the backends."""
    from securitynet import evaluate

    folder = write(tmp_path / "repo", "vit", {"image_processor_type": "ViTImageProcessor", "size": BOX})
    rng = np.random.default_rng(0)
    data = {f"x_{part}": rng.integers(0, 256, (30, 40, 50, 3), dtype=np.uint8) for part in ("train", "test")}
    data |= {f"y_{part}": rng.integers(0, 3, 30) for part in ("train", "test")}
    result = evaluate(str(folder), data, ["membership/loss"], cache_dir=tmp_path / "cache")
    rule = Transform.of(result.entry)
    assert {(row.pixels_id, row.preprocessing) for row in result.rows} == {(rule.id, "transformers torchvision ViTImageProcessor")}
    assert f"pixels: {rule.description}; {rule.compared()}" in result.verdict.notes


def test_every_entry_of_the_catalog_whose_publisher_is_installed() -> None:
    """All of the small sources and a part of timm's; `securitynet catalog check --pixels` compares every one."""
    entries = [entry for entry in catalog.entries() if entry.source in PUBLISHERS and entry.loader]
    chosen = [entry for entry in entries if entry.source != "timm"] + [entry for entry in entries if entry.source == "timm"][::9]
    results = list(compare(chosen))
    assert len(results) == len(chosen) > 400
    assert [one for one in results if one.problem] == []
    wrong = Entry.from_record({**entries[-1].to_record(), "processor": None, "crop": "squash"})
    assert [one.problem for one in compare([wrong]) if one.problem]


def test_the_flat_columns_say_what_the_library_does() -> None:
    """Readers of the catalog without the library get the same pixels from `resize`, `crop` and `interpolation`."""
    picture = pictures()[1]
    for entry in [one for one in catalog.entries() if one.source in ("timm", "torchvision") and one.loader][::40]:
        stated = Transform.of(Entry.from_record({**entry.to_record(), "processor": None}))
        assert np.array_equal(stated(picture), Transform.of(entry)(picture)), entry.id


def test_no_record_leaves_a_squash_unsaid() -> None:
    for entry in catalog.entries():
        assert entry.crop is not None or entry.resize is None, entry.id
        if entry.dataset == "ImageNet-1k" and (entry.loader or entry.source == "robustbench"):
            assert entry.crop is not None, entry.id
            assert entry.resize is not None or entry.crop == "squash" or entry.id.endswith("Wong2020Fast"), entry.id


def test_one_id_stands_for_all_that_decides_the_pixels(tmp_path: Path) -> None:
    """The same pixels by the same rule have one id; another size, another backend, another class have others."""
    folder = write(tmp_path / "repo", "vit", {"image_processor_type": "ViTImageProcessor", "size": BOX})
    entry = load_model(folder, cache_dir=tmp_path, progress=False).entry
    rules = [Transform.of(entry), Transform.of(entry)]
    rules += [
        Transform.of(Entry.from_record({**entry.to_record(), "processor": entry.processor.replace("64", "60"), "input_size": [3, 60, 60]}))
    ]
    rules += [Transform((3, 64, 64), crop="squash"), Transform((3, 64, 64)), Transform((3, 64, 64), resize=70)]
    ids = [rule.id for rule in rules]
    assert ids[0] == ids[1] and len(set(ids)) == 5 and all(len(one) == 64 for one in ids)
    assert "pil backend differ by" in (rules[0].compared() or "")


def test_other_implementations_are_compared(tmp_path: Path) -> None:
    """What a note says about the other backend is what the library's other backend gives."""
    settings = {"library": "transformers", "class": "ViTImageProcessor", "size": BOX, **ON, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    rule = Published((3, 64, 64), json.dumps({**settings, "resample": 3, "rescale_factor": 1 / 255}))
    other = transformers.ViTImageProcessorPil(size=BOX, resample=3)
    gaps = []
    for picture in pictures():
        theirs = np.asarray(other(picture, return_tensors="np")["pixel_values"][0]) * 127.5 + 127.5
        gaps.append(np.abs(theirs - rule(picture)))
    mean, largest = np.mean([gap.mean() for gap in gaps]), max(gap.max() for gap in gaps)
    assert rule.compared() == (
        f"the pixels of its pil backend differ by {mean:.3f} of 255 in the mean and at most {largest:.0f} (four fixed pictures)"
    )
    assert largest > 0


def test_without_torchvision_the_pil_backend_is_used_and_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    import transformers.utils

    settings = json.dumps({"library": "transformers", "class": "ViTImageProcessor", "size": BOX})
    made.cache_clear()
    monkeypatch.setattr(transformers.utils, "is_torchvision_available", lambda: False)
    with caplog.at_level(logging.WARNING):
        assert Published((3, 64, 64), settings).description == "transformers pil ViTImageProcessor"
    assert "torchvision is not installed" in caplog.text
    made.cache_clear()


def test_pictures_that_come_out_at_another_size_are_refused(tmp_path: Path) -> None:
    """A processor without a single size serves pictures that come out at the network's."""
    folder = write(tmp_path / "repo", "vit", {"image_processor_type": "ViTImageProcessor", "size": BOX, "do_resize": False})
    rule = Transform.of(load_model(folder, cache_dir=tmp_path, progress=False).entry)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(rule(noise), noise.transpose(2, 0, 1))
    assert np.array_equal(rule.batch(noise[None]), noise.transpose(2, 0, 1)[None])
    with pytest.raises(DataError, match="makes 3x31x40 of an image of 31x40, the network takes 3x64x64"):
        rule(photographs()["small"])
    with pytest.raises(LoadError, match="makes pictures of no single size"):
        load_model(write(tmp_path / "none", "resnet", {"image_processor_type": "ViTImageProcessor", "size": BOX, "do_resize": False}))


def test_what_a_user_states_goes_before_the_librarys_transform(tmp_path: Path) -> None:
    folder = write(tmp_path / "repo", "vit", {"image_processor_type": "ViTImageProcessor", "size": BOX})
    target = load_model(folder, entry={"crop": "center", "resize": 70, "interpolation": "bicubic"}, cache_dir=tmp_path, progress=False)
    assert Transform.of(target.entry) == Transform((3, 64, 64), 70, "center", "bicubic")
    assert set(FAMILIES) >= {one[0] for one in SAVED}
