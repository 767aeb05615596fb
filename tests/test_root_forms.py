"""The raw folders of torchvision's datasets, read as torchvision's own classes read them."""

from __future__ import annotations

import io
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pictures import refused
from PIL import Image
from scipy.io import savemat
from test_readers import idx

from securitynet.data import Images
from securitynet.data.dataset import resolve
from securitynet.data.readers import from_held, image_set
from securitynet.entry import Entry

datasets = pytest.importorskip("torchvision.datasets")
RNG = np.random.default_rng(5)


def entry(dataset: str | None, classes: int, channels: int = 3, side: int = 32) -> Entry:
    return Entry(id="a/b", dataset=dataset, input_size=(channels, side, side), num_classes=classes)


def pixels(images: Images | None) -> tuple[np.ndarray, list[int]]:
    assert images is not None
    return np.stack([np.asarray(images[place]) for place in range(len(images))]), images.labels.tolist()


def same(images: Images | None, theirs: Any) -> None:
    ours, labels = pixels(images)
    items = [theirs[place] for place in range(len(theirs))]
    assert np.array_equal(ours, np.stack([np.asarray(image) for image, _ in items])) and labels == [int(label) for _, label in items]


class Python2(pickle._Pickler):  # type: ignore[name-defined]
    """Writes texts and bytes as Python 2 wrote its strings, as the published files are."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def string(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = string


def python2(value: Any) -> bytes:
    held = io.BytesIO()
    Python2(held, protocol=2).dump(value)
    return held.getvalue()


def cifar(folder: Path, key: bytes, names: dict[str, int], meta: str, meta_key: bytes, classes: list[str]) -> None:
    folder.mkdir(parents=True)
    for name, count in names.items():
        data = RNG.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = RNG.integers(0, len(classes), count).tolist()
        held = {b"data": data, key: labels, b"filenames": [b"x.png"] * count, b"batch_label": b"one"}
        (folder / name).write_bytes(python2(held))
    (folder / meta).write_bytes(python2({meta_key: classes}))


def unchecked(monkeypatch: pytest.MonkeyPatch, *kinds: Any) -> None:
    for kind in kinds:  # they compare with the hashes of the published files
        monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unchecked(monkeypatch, datasets.CIFAR10)
    ten, hundred = list(resolve("CIFAR-10").class_names or ()), list(resolve("CIFAR-100").class_names or ())
    batches = {**{f"data_batch_{number}": 7 for number in range(1, 6)}, "test_batch": 9}
    cifar(tmp_path / "cifar-10-batches-py", b"labels", batches, "batches.meta", b"label_names", ten)
    images = image_set(entry("CIFAR-10", 10), data=tmp_path)
    same(images.train, datasets.CIFAR10(str(tmp_path), train=True))
    same(images.test, datasets.CIFAR10(str(tmp_path), train=False))
    same(from_held(entry("CIFAR-10", 10), datasets.CIFAR10(str(tmp_path), train=True)).train, datasets.CIFAR10(str(tmp_path), train=True))
    cifar(tmp_path / "cifar-100-python", b"fine_labels", {"train": 12, "test": 8}, "meta", b"fine_label_names", hundred)
    both = image_set(entry("CIFAR-100", 100), data=tmp_path)
    same(both.train, datasets.CIFAR100(str(tmp_path), train=True))
    same(both.test, datasets.CIFAR100(str(tmp_path), train=False))
    assert "holds CIFAR-10, CIFAR-100; give the folder of one of them" in refused(tmp_path, entry(None, 10))
    assert len(pixels(image_set(entry(None, 10), data=tmp_path / "cifar-10-batches-py").train)[1]) == 35
    turned = Entry(id="a/b", input_size=(3, 32, 32), num_classes=10, labels=tuple(ten[::-1]))
    assert pixels(image_set(turned, data=tmp_path / "cifar-10-batches-py").test)[1] == [9 - one for one in pixels(images.test)[1]]
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps({"data": Path("x")}))
    assert "which is code" in refused(tmp_path / "cifar-10-batches-py", entry("CIFAR-10", 10))


def test_cifars_binary_version(tmp_path: Path) -> None:
    data, labels = RNG.integers(0, 256, (9, 3072), dtype=np.uint8), RNG.integers(0, 10, 9)
    for name, head in (("cifar-10-batches-bin/test_batch.bin", [labels]), ("cifar-100-binary/test.bin", [labels // 5, labels])):
        (tmp_path / name).parent.mkdir()
        rows = np.concatenate([*(np.asarray(one, np.uint8)[:, None] for one in head), data], axis=1)
        (tmp_path / name).write_bytes(rows.tobytes())
        found = pixels(image_set(entry(None, 100), data=(tmp_path / name).parent).test)
        assert np.array_equal(found[0], data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)) and found[1] == labels.tolist()
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(bytes(5000))
    assert "no whole number of records" in refused(tmp_path / "cifar-10-batches-bin", entry("CIFAR-10", 10))


def test_mnist_and_its_kin(tmp_path: Path) -> None:
    for name in ("MNIST", "FashionMNIST"):
        raw = tmp_path / name / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 9), ("t10k", 6)):
            idx(raw / f"{part}-images-idx3-ubyte", RNG.integers(0, 256, (count, 28, 28)))
            idx(raw / f"{part}-labels-idx1-ubyte", RNG.integers(0, 10, count))
            idx(raw / f"{part}-labels-idx1-ubyte.gz", np.zeros(count))  # left from the download: the same in truth
    for key, kind in (("MNIST", datasets.MNIST), ("Fashion-MNIST", datasets.FashionMNIST)):
        one = entry(key, 10, 1, 28)
        for train in (True, False):
            theirs = kind(str(tmp_path), train=train)
            for images in (image_set(one, data=tmp_path), image_set(one, data=tmp_path / kind.__name__), from_held(one, theirs)):
                same(images.train if train else images.test, theirs)
    assert "holds Fashion-MNIST, MNIST; give the folder of one" in refused(tmp_path, entry(None, 10, 1, 28))
    idx(tmp_path / "MNIST" / "raw" / "emnist-letters-train-images-idx3-ubyte", np.zeros((3, 28, 28)))
    assert "are both x_train; move one of them elsewhere" in refused(tmp_path / "MNIST", entry("MNIST", 10, 1, 28))


def test_svhn_and_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    for part, count in (("train", 30), ("test", 20)):
        labels = np.r_[np.arange(1, 11), RNG.integers(1, 11, count - 10)].astype(np.uint8)[:, None]
        savemat(tmp_path / f"{part}_32x32.mat", {"X": RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8), "y": labels})
    images = image_set(entry("SVHN", 10), data=tmp_path)
    for part, ours in (("train", images.train), ("test", images.test)):
        same(ours, datasets.SVHN(str(tmp_path), split=part))
    savemat(tmp_path / "other_test.mat", {"X": np.zeros((4, 8, 8), np.uint8), "y": np.arange(1, 5)})
    assert "as MATLAB counts" in refused(tmp_path / "other_test.mat", entry(None, 10, 1, 8))
    folder = tmp_path / "stl" / "stl10_binary"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        (folder / f"{part}_X.bin").write_bytes(RNG.integers(0, 256, 5 * 3 * 96 * 96, dtype=np.uint8).tobytes())
        (folder / f"{part}_y.bin").write_bytes(RNG.integers(1, 11, 5, dtype=np.uint8).tobytes())
    stated = "airplane bird car cat deer dog horse monkey ship truck"
    (folder / "class_names.txt").write_text(stated.replace(" ", "\n"))
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    found = image_set(entry(None, 10, 3, 96), data=tmp_path / "stl")
    same(found.train, datasets.STL10(str(tmp_path / "stl"), split="train"))
    same(found.test, datasets.STL10(str(tmp_path / "stl"), split="test"))


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


def test_gtsrb(tmp_path: Path) -> None:
    base = tmp_path / "gtsrb"
    for label in (0, 7, 12, 42):
        for number in range(3):
            picture(base / "GTSRB" / "Training" / f"{label:05d}" / f"0000{number}.ppm")
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number, label in enumerate((42, 7, 0, 12, 7)):
        picture(base / "GTSRB" / "Final_Test" / "Images" / f"{number:05d}.ppm")
        rows.append(f"{number:05d}.ppm;32;32;1;1;30;30;{label}")
    signs = entry("GTSRB", 43)
    assert "the test images have no classes; put GT-final_test.csv" in refused(tmp_path, signs)
    (base / "GT-final_test.csv").write_text("\n".join(rows))
    for one in (signs, entry(None, 43)):
        images = image_set(one, data=tmp_path)
        test = datasets.GTSRB(str(tmp_path), split="test")
        same(images.test, test)
        train = datasets.GTSRB(str(tmp_path), split="train")
        named = sorted(int(Path(path).parent.name) for path, _ in train._samples)  # it counts the folders that are there
        assert images.train is not None and sorted(images.train.labels.tolist()) == named
    (base / "GT-final_test.csv").write_text("\n".join(one.rpartition(";")[0] for one in rows))
    assert "no columns Filename and ClassId" in refused(tmp_path, signs)


def test_birds_and_tiny_imagenet(tmp_path: Path) -> None:
    birds, split = tmp_path / "CUB_200_2011", {1: 1, 2: 0, 3: 1, 4: 0}
    names = {1: "001.Black/a.jpg", 2: "001.Black/b.jpg", 3: "002.White/c.jpg", 4: "200.Last/d.jpg"}
    for name in names.values():
        picture(birds / "images" / name)
    (birds / "images.txt").write_text("".join(f"{one} {name}\n" for one, name in names.items()))
    (birds / "image_class_labels.txt").write_text("1 1\n2 1\n3 2\n4 200\n")
    (birds / "train_test_split.txt").write_text("".join(f"{one} {flag}\n" for one, flag in split.items()))
    images = image_set(entry("CUB-200-2011", 200), data=tmp_path)
    assert pixels(images.train)[1] == [0, 1] and pixels(images.test)[1] == [0, 199]
    tiny = tmp_path / "t" / "tiny-imagenet-200"
    ids = ["n02124075", "n01443537", "n04067472"]
    for wnid in ids:
        picture(tiny / "train" / wnid / "images" / f"{wnid}_0.JPEG")
    for place in range(3):
        picture(tiny / "val" / "images" / f"val_{place}.JPEG")
    (tiny / "val" / "val_annotations.txt").write_text("".join(f"val_{place}.JPEG\t{wnid}\t0\t0\t9\t9\n" for place, wnid in enumerate(ids)))
    three = entry(None, 3)
    assert pixels(image_set(three, data=tiny).test)[1] == [1, 0, 2]
    assert "3 classes" in refused(tiny, replace(three, num_classes=200))
