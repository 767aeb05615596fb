"""Pixels that are kept are those that the rule makes: for every kind of processor, through damage, full disks and other processes."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from test_publisher_pixels import SAVED
from torch import nn

from securitynet import querying
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, Split
from securitynet.data.encoded import EncodedImages
from securitynet.data.pixels import Pixels, pictures
from securitynet.data.prepared import Kept, PixelStore, beside, prepared
from securitynet.data.processor import processor_class, quietly
from securitynet.data.published import Published
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import DataError
from securitynet.target import build, query

CLASSES = {name: settings for _, name, settings in SAVED}
STATED = [
    Transform((3, 24, 24), 30, "center", "bicubic"),
    Transform((1, 20, 24), None, "squash"),
    Published((3, 24, 24), json.dumps({"library": "timm", "crop_pct": 0.875, "interpolation": "bicubic", "crop_mode": "center"})),
    Published((3, 224, 224), json.dumps({"library": "torchvision", "weights": "ResNet18_Weights.IMAGENET1K_V1"})),
]


class Counting:
    """A source that counts what is read of it."""

    def __init__(self, files: list[bytes]) -> None:
        self.files, self.read = files, 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[str, bytes]:
        self.read += 1
        return f"picture {index}", self.files[index]


def jpegs(count: int) -> list[bytes]:
    """Photographs of four sizes, each with a patch of its own."""
    files = []
    for number in range(count):
        picture = pictures()[number % 4].copy()
        picture[:8, :8] = number
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def encoded(count: int = 6, grey: bool = False) -> tuple[Counting, EncodedImages]:
    source = Counting(jpegs(count))
    return source, EncodedImages(source, np.zeros(count, np.int64), f"jpegs {count}", grey)


def of_transformers(name: str, settings: dict[str, Any]) -> Published:
    """Return the rule of a processor, at the size that comes out of it."""
    with quietly():
        made = processor_class(name)(**settings)(Image.fromarray(pictures()[0]), return_tensors="pt")["pixel_values"][0]
    return Published(tuple(made.shape), json.dumps({"library": "transformers", "class": name, **settings}))


RULES: list[Any] = [*STATED, *CLASSES.items()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[0] if isinstance(rule, tuple) else f"{type(rule).__name__} {rule.input_size}")
def test_kept_pixels_and_the_logits_on_them_are_those_of_the_rule(rule: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("torchvision")
    rule = of_transformers(*rule) if isinstance(rule, tuple) else rule
    source, images = encoded(grey=rule.input_size[0] == 1)
    positions = np.array([4, 0, 2, 5, 4])
    wanted = np.stack([rule(images[int(one)]) for one in positions])
    read = source.read
    for turn in range(2):
        found = prepared(images, Kept(rule, PixelStore(tmp_path)), positions)
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted), turn
    assert source.read == read + 5  # and none when they are there
    logits = []
    for number, one in enumerate((rule, Kept(rule, PixelStore(tmp_path)))):
        torch.manual_seed(0)
        entry = Entry(id="test/linear", num_classes=3, input_size=rule.input_size, mean=(0.4,), std=(0.3,))
        target = build(entry, nn.Sequential(nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(49 * rule.input_size[0], 3)))
        split = Split("test", images, np.arange(6), images.labels, one)
        target = build(target.entry, target.module[1])
        object.__setattr__(target, "cache", ArrayCache(tmp_path / f"outputs{number}"))
        logits.append(query(target, split, Accelerator(cpu=True), batch_size=2).logits)
    assert np.array_equal(*logits)


def test_damaged_rows_are_made_again_and_another_process_reads_what_is_there(tmp_path: Path) -> None:
    source, images = encoded()
    rule, everything = STATED[0], np.arange(6)
    first = prepared(images, Kept(rule, PixelStore(tmp_path)), everything)
    path = next(tmp_path.glob("*/*.values"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    source.read = 0
    assert np.array_equal(prepared(images, Kept(rule, PixelStore(tmp_path)), everything), first)
    assert source.read == 1


def test_the_store_is_bounded_and_goes_on_without_a_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, images = encoded()
    everything = np.arange(6)
    size = 3 * 24 * 24
    for side in range(24, 40):  # sixteen rules
        rule = Transform((3, side, side), None, "center")
        prepared(images, Kept(rule, store := PixelStore(tmp_path / "bounded", 40 * size)), everything)
        store.store.wrote(0, last=True)
    assert sum(path.stat().st_size for path in (tmp_path / "bounded").glob("*/*.values")) <= 40 * size
    (tmp_path / "file").write_text("no folder")
    rule = STATED[0]
    for _ in range(2):
        kept = Kept(rule, PixelStore(tmp_path / "file" / "pixels"))
        assert np.array_equal(prepared(images, kept, everything), prepared(images, rule, everything))
    assert "prepared pixels are no longer kept on disk" in caplog.text


def test_whole_numbers_and_others_of_one_rule_lie_apart(tmp_path: Path) -> None:
    """A plain picture comes out as whole numbers where others do not."""

    class Halves:
        input_size, id, description = (1, 4, 4), "halves", "halves"

        def __call__(self, image: Any) -> np.ndarray:
            pixels = np.asarray(image, np.float32)[None] / 2
            return pixels if (pixels % 1).any() else pixels.astype(np.uint8)

    images = ArrayImages(np.arange(4 * 16).reshape(4, 4, 4).astype(np.uint8) // np.array([1, 16, 1, 64])[:, None, None], np.zeros(4))
    rule: Pixels = Halves()  # type: ignore[assignment]
    for _ in range(2):
        kept = Kept(rule, PixelStore(tmp_path))
        assert prepared(images, kept, np.array([3])).dtype == np.uint8
        assert np.array_equal(prepared(images, kept, np.arange(4)), np.stack([rule(image).astype(np.float32) for image in images]))


def test_another_models_pixels_lie_in_the_same_store(tmp_path: Path) -> None:
    store = PixelStore(tmp_path)
    assert beside(Kept(STATED[0], store), STATED[1]) == Kept(STATED[1], store)
    assert beside(STATED[0], STATED[1]) is STATED[1]


def test_a_broken_image_ends_a_pass_that_reads_ahead(tmp_path: Path) -> None:
    source, images = encoded(40)
    source.files[30] = b"no picture"
    target = build(Entry(id="test/linear", num_classes=2, input_size=(3, 24, 24)), nn.Sequential(nn.Flatten(), nn.Linear(1728, 2)))
    split = Split("test", images, np.arange(40), images.labels, Kept(STATED[0], PixelStore(tmp_path)))
    with pytest.raises(DataError, match="picture 30"):
        query(target, split, Accelerator(cpu=True), batch_size=4)
    assert not [one for one in threading.enumerate() if one.name.startswith(("read-ahead", "prepare"))]


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (64, 64), (65, 128), (100, 128)])
def test_a_batch_is_not_larger_than_the_next_power_of_two(count: int, size: int) -> None:
    assert querying.power_of_two(count) == size


@pytest.mark.parametrize(("free", "each", "size"), [(80e9, 30e6, 512), (8e9, 30e6, 128), (1e9, 30e6, 16), (1e6, 30e6, 1), (8e9, 0, 512)])
def test_a_batch_fits_the_memory_that_is_free(free: float, each: float, size: int) -> None:
    assert querying.fitting(free, each) == size
