"""Every form of images that a user may give, written here and read back; every mistake with its message."""

from __future__ import annotations

import gzip
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from securitynet.data import Images
from securitynet.data.readers import from_arrays, image_set
from securitynet.entry import Entry
from securitynet.errors import DataError, UsageError

ENTRY = Entry(id="a/b", input_size=(3, 6, 6), num_classes=3)
CIFAR = Entry(id="a/b", dataset="cifar10", input_size=(3, 6, 6), num_classes=10)
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)
Y = np.arange(30) % 3
ARRAYS = {"x_train": X[:20], "y_train": Y[:20], "x_test": X[20:], "y_test": Y[20:]}


def pixels(images: Images | None) -> np.ndarray:
    assert images is not None
    return np.stack([np.asarray(images[index]) for index in range(len(images))])


def refused(path: Path | str, entry: Entry = ENTRY, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        image_set(entry, data=path, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_npz(tmp_path: Path) -> None:
    images = image_set(ENTRY, data=save(tmp_path / "some.npz", **ARRAYS, y_all_train=np.zeros(99)))
    assert np.array_equal(pixels(images.train), X[:20]) and np.array_equal(pixels(images.test), X[20:])
    assert images.train and images.test and images.train.labels.tolist() == Y[:20].tolist() and images.test.labels.dtype == np.int64
    assert (images.dataset, images.membership) == ("some.npz", "official-split")
    known = image_set(CIFAR, data=os.fspath(tmp_path / "some.npz"))
    assert (known.dataset, known.membership, known.class_names and known.class_names[3]) == ("CIFAR-10", "official-split", "cat")
    assert known.revision == images.revision and known.train and known.train.fingerprint == images.train.fingerprint
    only_test = image_set(ENTRY, data=save(tmp_path / "test.npz", x_test=X[..., 0], y_test=Y[:, None].astype(np.uint8)))
    assert only_test.train is None and only_test.test and only_test.test.labels.tolist() == Y.tolist()
    medmnist = save(tmp_path / "med.npz", train_images=X, train_labels=Y[:, None], val_images=X, val_labels=Y, test_images=X, test_labels=Y)
    assert len(pixels(image_set(ENTRY, data=medmnist).train)) == 30


def test_volumes_are_read_for_a_model_of_volumes(tmp_path: Path) -> None:
    volumes = RNG.integers(0, 256, (4, 5, 6, 7), dtype=np.uint8)
    path = save(tmp_path / "v.npz", x_test=volumes, y_test=np.zeros(4, int))
    entry = Entry(id="a/b", input_size=(3, 5, 6, 7), dataset="organmnist3d")
    assert np.array_equal(pixels(image_set(entry, data=path).test), volumes)
    assert "x_test has shape (4, 5, 6, 7), expected is [n, height, width, channels] or [n, height, width]" in refused(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": X[:20] / 255}, r"x_train holds float64, images must be uint8; they lie in \[0,1\]: save \(x \* 255\)"),
        ({"x_test": X[20:].astype(np.float32)}, "x_test holds float32, images must be uint8; save pixels 0..255 as uint8"),
        ({"x_test": X[20:].astype(np.int64)}, "x_test holds int64, images must be uint8"),
        ({"x_train": X[:20].transpose(0, 3, 1, 2)}, r"x_train has shape \(20, 3, 6, 6\), channels first; save x.transpose\(0, 2, 3, 1\)"),
        ({"x_train": X[:20].reshape(20, -1)}, r"x_train has shape \(20, 108\), expected is"),
        ({"y_train": Y[:20].astype(float)}, r"y_train holds float64, labels must be integers; save y.astype\('int64'\)"),
        ({"y_test": np.eye(3, dtype=int)[Y[20:]]}, r"y_test has shape \(10, 3\), expected is one label per image; .* y.argmax\(axis=1\)"),
        ({"y_train": Y[:19]}, "x_train has 20 images, y_train 19 labels"),
        ({"y_test": np.array([None] * 10)}, "not a readable .npz file of plain arrays"),
    ],
)
def test_mistakes_in_arrays_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "bad.npz", **{**ARRAYS, **change})
    assert re.search(message, refused(path))


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    assert "y_train is missing beside x_train" in refused(save(tmp_path / "a.npz", x_train=X))
    assert "x_test is missing beside y_test" in refused(save(tmp_path / "b.npz", x_train=X, y_train=Y, y_test=Y))
    assert "holds images, labels; expected are x_train" in refused(save(tmp_path / "c.npz", images=X, labels=Y))
    assert "no images; expected are training images" in refused(save(tmp_path / "d.npz", x_test=X[:0], y_test=Y[:0]))
    with pytest.raises(DataError, match="data: x_train has 30 images, y_train 2 labels"):
        from_arrays(ENTRY, {"x_train": X, "y_train": [0, 1]})
    assert len(pixels(from_arrays(ENTRY, {"x_test": X, "y_test": Y.tolist()}).test)) == 30


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = save(tmp_path / "some.npz", **ARRAYS).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    assert "cut.npz: not a readable .npz file" in refused(tmp_path / "cut.npz")
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 255
    (tmp_path / "bits.npz").write_bytes(damaged)
    assert "bits.npz: not a readable .npz file" in refused(tmp_path / "bits.npz")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1" + b"\0" * 50)
    assert "bad.parquet: not a readable Parquet file" in refused(tmp_path / "bad.parquet")


def test_what_is_no_data_at_all(tmp_path: Path) -> None:
    assert "nowhere.npz: no such file or folder; expected is an .npz file" in refused(tmp_path / "nowhere.npz")
    (tmp_path / "text.txt").write_text("x")
    assert "text.txt: not a form of images that can be read" in refused(tmp_path / "text.txt")
    assert "holds text.txt; expected are IDX files" in refused(tmp_path)
    with pytest.raises(DataError, match=r"a/b: no dataset is recorded; give its images: .*--data images.npz"):
        image_set(ENTRY)
    with pytest.raises(DataError, match="the images of CUB-200-2011 cannot be fetched; give them"):
        image_set(Entry(id="a/b", dataset="CUB-200-2011", input_size=(3, 6, 6)))
    with pytest.raises(UsageError, match="unknown image dataset 'CIFAR-11'"):
        image_set(Entry(id="a/b", dataset="CIFAR-11"))


def test_digits_come_with_the_package() -> None:
    images = image_set(Entry(id="a/b", dataset="digits", input_size=(1, 8, 8)))
    assert images.dataset == "digits" and images.train and images.test and len(images.train) + len(images.test) == 1797


def idx(path: Path, array: np.ndarray) -> None:
    data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx(tmp_path: Path, ending: str) -> None:
    for name, array in (("train-images-idx3", X[:20, :, :, 0]), ("train-labels-idx1", Y[:20])):
        idx(tmp_path / f"{name}-ubyte{ending}", array)
    images = image_set(ENTRY, data=tmp_path)
    assert np.array_equal(pixels(images.train), X[:20, :, :, 0]) and images.test is None
    for name, array in (("t10k-images-idx3", X[20:, :, :, 1]), ("t10k-labels-idx1", Y[20:])):
        idx(tmp_path / f"{name}-ubyte{ending}", array)
    images = image_set(ENTRY, data=tmp_path)
    assert images.test and np.array_equal(pixels(images.test), X[20:, :, :, 1]) and images.test.labels.tolist() == Y[20:].tolist()
    cut = tmp_path / f"t10k-labels-idx1-ubyte{ending}"
    cut.write_bytes(cut.read_bytes()[:-3])
    assert f"{cut}: not" in refused(tmp_path) and refused(tmp_path).endswith("fetch it again")


def folder(place: Path, names: tuple[str, ...] = ("dog", "Cat", "air_plane"), ending: str = ".png", test: str = "test") -> Path:
    for index in range(30):
        split = "train" if index < 20 else test
        target = place / split / names[Y[index]] / f"{index:02d}{ending}"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(X[index]).save(target)
    return place


def by_content(images: Images | None) -> dict[bytes, int]:
    assert images is not None
    return {np.asarray(images[index]).tobytes(): int(images.labels[index]) for index in range(len(images))}


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_an_image_folder_in_sorted_and_in_the_datasets_order(tmp_path: Path, test: str) -> None:
    place = folder(tmp_path, test=test)
    images = image_set(ENTRY, data=place)
    assert images.class_names == ("Cat", "air_plane", "dog")
    ranks = [2, 0, 1]
    assert by_content(images.train) == {X[index].tobytes(): ranks[Y[index]] for index in range(20)}
    assert by_content(images.test) == {X[index].tobytes(): ranks[Y[index]] for index in range(20, 30)}
    known = image_set(CIFAR, data=place)
    labels = [5, 3, 0]  # dog, cat, airplane of CIFAR-10
    assert by_content(known.train) == {X[index].tobytes(): labels[Y[index]] for index in range(20)}
    assert known.class_names and len(known.class_names) == 10


def test_class_folders_may_be_numbers_or_ids(tmp_path: Path) -> None:
    images = image_set(CIFAR, data=folder(tmp_path / "numbers", ("9", "0", "00003")))
    assert by_content(images.train) == {X[index].tobytes(): (9, 0, 3)[Y[index]] for index in range(20)}
    imagenet = Entry(id="a/b", dataset="ImageNet-1k", input_size=(3, 6, 6), num_classes=1000)
    images = image_set(imagenet, data=folder(tmp_path / "wnids", ("n01443537", "n01440764", "n15075141")))
    assert by_content(images.train) == {X[index].tobytes(): (1, 0, 999)[Y[index]] for index in range(20)}
    own = Entry(id="a/b", input_size=(3, 6, 6), num_classes=12)
    images = image_set(own, data=folder(tmp_path / "own", ("10", "9", "2")))
    assert by_content(images.train) == {X[index].tobytes(): (10, 9, 2)[Y[index]] for index in range(20)}


def test_mistakes_in_image_folders_are_named(tmp_path: Path) -> None:
    wrong = refused(folder(tmp_path / "names", ("dog", "cat", "zebra")), CIFAR)
    assert "classes are called cat, dog, zebra, those of CIFAR-10 airplane, automobile, bird, cat, ... (10); use those names" in wrong
    place = folder(tmp_path / "broken")
    images = image_set(ENTRY, data=place)
    broken = sorted((place / "train" / "dog").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:60])
    assert images.train is not None
    with pytest.raises(DataError, match=rf"{re.escape(str(broken))}: the image cannot be read"):
        pixels(images.train)
    (tmp_path / "empty" / "train" / "dog").mkdir(parents=True)
    (tmp_path / "flat" / "train").mkdir(parents=True)
    assert "flat: holds train; expected are IDX files, Parquet files, or train/<class>/" in refused(tmp_path / "flat")
    assert "no images in class folders, expected is train/<class>/<image>" in refused(tmp_path / "empty")


def test_modes_are_made_equal(tmp_path: Path) -> None:
    place = folder(tmp_path)
    first, second = sorted((place / "train" / "dog").iterdir())[:2]
    Image.fromarray(X[0, :, :, 0]).save(first)
    Image.fromarray(X[1]).convert("RGBA").save(second)
    assert pixels(image_set(ENTRY, data=place).train).shape == (20, 6, 6, 3)
    mnist = Entry(id="a/b", dataset="MNIST", input_size=(1, 6, 6), num_classes=10)
    grey = image_set(mnist, data=folder(tmp_path / "grey", ("0", "1", "2")))
    assert pixels(grey.train).shape == (20, 6, 6)
    Image.fromarray(np.zeros((6, 6), np.uint16)).save(first)
    images = image_set(ENTRY, data=place)
    with pytest.raises(DataError, match=rf"{re.escape(str(first))}: images have more than 8 bits per channel"):
        pixels(images.train)


def test_a_folder_is_listed_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path)
    monkeypatch.setattr("securitynet.data.fingerprint.WHOLE", 0)
    opened: list[str] = []
    original = Image.open

    def counted(file: Any, formats: Any) -> Image.Image:
        opened.append(str(file))
        return original(file, formats=formats)

    monkeypatch.setattr(Image, "open", counted)
    mnist = Entry(id="a/b", dataset="CIFAR-10", input_size=(3, 6, 6), num_classes=10)
    images = image_set(mnist, data=place)
    assert not opened and images.train
    images.train[3]
    assert len(opened) == 1
    before = images.train.fingerprint
    path = next((place / "train" / "dog").iterdir())
    os.utime(path, ns=(1, 1))
    after = image_set(mnist, data=place)
    assert (
        after.train
        and after.train.fingerprint != before
        and after.test
        and images.test
        and after.test.fingerprint == images.test.fingerprint
    )
