"""The real images: counts that are published, and the same pixels and labels through every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from securitynet.data import ArrayImages, draw
from securitynet.data.dataset import resolve
from securitynet.data.readers import image_set
from securitynet.data.transform import Transform
from securitynet.entry import Entry

CIFAR = Entry(id="a/b", dataset="CIFAR-10", input_size=(3, 32, 32), num_classes=10)
GREY = Entry(id="a/b", dataset="Fashion-MNIST", input_size=(1, 28, 28), num_classes=10)


@pytest.fixture(scope="module")
def cifar(real: Path) -> Path:
    return real / "datasets" / "cifar10_lossless_4k_train_1k_test.npz"


def test_fashion_mnist_is_complete(real: Path) -> None:
    images = image_set(GREY, data=real / "datasets" / "fashion-mnist", samples=None)
    record = resolve("Fashion-MNIST")
    assert images.train and images.test and (len(images.train), len(images.test)) == (record.train_size, record.test_size)
    assert np.bincount(images.train.labels).tolist() == [6000] * 10 and np.bincount(images.test.labels).tolist() == [1000] * 10
    assert isinstance(images.train, ArrayImages) and images.train.pixels.mean() / 255 == pytest.approx(0.2860, abs=5e-4)  # the usual mean


def test_cifar_and_its_splits(cifar: Path) -> None:
    images = image_set(CIFAR, data=cifar)
    assert images.train and images.test and (len(images.train), len(images.test)) == (4000, 1000)
    assert images.train.labels.tolist() == np.load(cifar)["y_all_train"][:4000].tolist()
    assert images.membership == "official-split" and images.class_names == resolve("CIFAR-10").class_names
    splits = draw(images, Transform.of(CIFAR), 10, seed=0, samples=500)
    assert splits.members and splits.queries and splits.non_members
    assert not set(splits.members.indices) & set(splits.queries.indices) and len(splits.non_members) == 500
    assert splits.manifest == draw(image_set(CIFAR, data=cifar), Transform.of(CIFAR), 10, seed=0, samples=500).manifest


def test_the_same_images_through_a_folder_and_through_parquet(cifar: Path, tmp_path: Path) -> None:
    import datasets

    images = image_set(CIFAR, data=cifar)
    assert images.test is not None and images.class_names
    for index in range(60):
        path = tmp_path / "folder" / "test" / images.class_names[images.test.labels[index]] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.test[index]).save(path)
    pictures = [Image.fromarray(images.test[index]) for index in range(60)]
    backwards = datasets.ClassLabel(names=list(images.class_names[::-1]))
    features = datasets.Features({"img": datasets.Image(), "label": backwards})
    columns = {"img": pictures, "label": [9 - int(label) for label in images.test.labels[:60]]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "test.parquet")
    expected = {images.test[index].tobytes(): int(images.test.labels[index]) for index in range(60)}
    for data in (tmp_path / "folder", tmp_path / "test.parquet"):
        other = image_set(CIFAR, data=data).test
        assert other is not None
        assert {np.asarray(other[index]).tobytes(): int(other.labels[index]) for index in range(len(other))} == expected


def test_photos_reach_the_network_as_through_torchvision(real: Path, tmp_path: Path) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    target = tmp_path / "val" / "n07697537"
    target.mkdir(parents=True)
    source = real / "datasets" / "coral_images" / "hot_dog.jpg"
    (target / source.name).write_bytes(source.read_bytes())
    entry = Entry(id="a/b", dataset="ImageNet-1k", input_size=(3, 224, 224), num_classes=1000, resize=256, crop="center")
    images = image_set(entry, data=tmp_path)
    splits = draw(images, Transform.of(entry), 1000)
    assert splits.test and splits.test.labels.tolist() == [934] and images.class_names and "hot dog" in images.class_names[934]
    pipeline = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    assert np.allclose(splits.test.pixels([0])[0], pipeline(Image.open(source).convert("RGB")), atol=1e-7)
