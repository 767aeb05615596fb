"""Datasets in memory: those of the `datasets` library (also saved to disk) and of torch; arrays under the names that people give them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from pictures import CIFAR, ENTRY, X, Y, by_content, expected, png, refused
from PIL import Image
from safetensors.numpy import save_file
from torch.utils.data import ConcatDataset, IterableDataset, Subset, TensorDataset, random_split

from securitynet.data.readers import from_held, image_set
from securitynet.errors import DataError

PETS = replace(ENTRY, labels=("dog", "cat", "air plane"))
NAMES = ["cat", "airplane", "dog"]  # class i of Y
LABELS = [1, 2, 0]  # the same among PETS


def table(rows: slice, names: list[str] | None = None, **columns: Any) -> datasets.Dataset:
    kind = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
    features = datasets.Features({"picture": datasets.Image(), "label": kind})
    given = {"picture": [{"bytes": png(image), "path": None} for image in X[rows]], "label": Y[rows].tolist()} | columns
    return datasets.Dataset.from_dict(given, features=features if not columns else None)


def wrong(held: Any, entry: Any = ENTRY) -> str:
    with pytest.raises(DataError) as caught:
        from_held(entry, held)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_dataset_dict_in_memory_and_saved(tmp_path: Path) -> None:
    held = datasets.DatasetDict({"train": table(slice(0, 30), NAMES), "validation": table(slice(30, 45), ["dog", "cat", "airplane"])})
    held.save_to_disk(tmp_path / "saved")
    for images in (from_held(PETS, held), from_held(PETS, dict(held)), image_set(PETS, data=tmp_path / "saved")):
        assert by_content(images.train) == expected(slice(0, 30), LABELS)
        assert by_content(images.test) == expected(slice(30, 45), [0, 1, 2])
    assert by_content(from_held(CIFAR, held).train) == expected(slice(0, 30), [3, 0, 5])
    one = from_held(ENTRY, held["train"].with_format("torch").shuffle(seed=1).select(range(10)))
    assert one.train is None and one.test and len(one.test) == 10
    assert by_content(one.test).items() <= expected(slice(0, 30), [0, 1, 2]).items()
    held["train"].save_to_disk(tmp_path / "one")
    assert by_content(image_set(PETS, data=tmp_path / "one").test) == expected(slice(0, 30), LABELS)
    split = datasets.Dataset(held["train"].data, split=datasets.Split.TRAIN)
    assert by_content(from_held(ENTRY, split).train) == expected(slice(0, 30), [0, 1, 2])
    state = tmp_path / "one" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"_data_files": [{"filename": "../saved/x.arrow"}]}))
    assert "lies outside the folder" in refused(tmp_path / "one")


def test_datasets_that_cannot_be_meant() -> None:
    held = table(slice(0, 9), NAMES)
    held.set_transform(lambda rows: rows)
    assert "has a transform" in wrong(held) and "reset_format()" in wrong(held)
    assert "streaming=False" in wrong(table(slice(0, 9)).to_iterable_dataset())
    assert "one called train or test is needed" in wrong({"dogs": table(slice(0, 9))})
    assert "label holds float" in wrong(table(slice(0, 9)).cast_column("label", datasets.Value("float32")))
    assert "holds text, and the class names" in wrong(table(slice(0, 9)).cast_column("label", datasets.Value("string")).map(named))
    assert by_content(from_held(PETS, table(slice(0, 9)).cast_column("label", datasets.Value("string")).map(named)).test)
    two = {"train": table(slice(0, 9), NAMES), "test": table(slice(9, 18), ["cat", "dog", "bird"])}
    assert "classes are called cat, dog, bird" in wrong(two)


def named(row: dict[str, Any]) -> dict[str, Any]:
    return {"label": NAMES[int(row["label"])]}


class Pairs(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, rows: slice, kind: str = "pil", transform: Any = None, label: Any = int) -> None:
        self.rows, self.kind, self.transform, self.label = range(*rows.indices(600)), kind, transform, label

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        index = self.rows[place]
        image: Any = X[index] if self.kind == "array" else Image.fromarray(X[index])
        if self.kind == "tensor":
            image = torch.from_numpy(X[index]).permute(2, 0, 1)
        image = self.transform(image) if self.transform else image
        label = self.label(Y[index])
        return {"image": image, "label": label} if self.kind == "mapping" else (image, label)


@pytest.mark.parametrize("kind", ["pil", "array", "tensor", "mapping"])
def test_datasets_of_torch(kind: str) -> None:
    images = from_held(ENTRY, {"train": Pairs(slice(0, 30), kind), "test": Pairs(slice(30, 45), kind)})
    assert by_content(images.train) == expected(slice(0, 30), [0, 1, 2])
    assert by_content(images.test) == expected(slice(30, 45), [0, 1, 2])
    one, other = random_split(Pairs(slice(0, 30), kind), [20, 10])
    both = by_content(from_held(ENTRY, {"train": one, "test": other}).train) | by_content(from_held(ENTRY, other).test)
    assert both == expected(slice(0, 30), [0, 1, 2])
    joined = ConcatDataset([Pairs(slice(0, 9), kind), Subset(Pairs(slice(9, 30), kind), range(9))])
    assert by_content(from_held(ENTRY, joined).test) == expected(slice(0, 18), [0, 1, 2])
    named = Pairs(slice(0, 9), kind, label=lambda label: NAMES[label])
    assert by_content(from_held(PETS, named).test) == expected(slice(0, 9), LABELS)


def test_transforms_that_the_user_set_never_change_pixels_silently() -> None:
    from torchvision import transforms

    plain = transforms.Compose([transforms.ToTensor()])
    assert by_content(from_held(ENTRY, Pairs(slice(0, 9), transform=plain)).test) == expected(slice(0, 9), [0, 1, 2])
    for transform in (
        transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]),
        transforms.Resize(4),
        transforms.RandomHorizontalFlip(),
        lambda image: image,
    ):
        held = Subset(Pairs(slice(0, 9), transform=transform), range(5))
        assert "its transform has" in wrong(held) and "give the dataset without transform" in wrong(held)
    assert "its image is float32" in wrong(TensorDataset(torch.rand(4, 3, 6, 6), torch.zeros(4, dtype=torch.int64)))
    ready = TensorDataset(torch.from_numpy(X[:9]).permute(0, 3, 1, 2), torch.from_numpy(Y[:9]))
    assert by_content(from_held(ENTRY, ready).test) == expected(slice(0, 9), [0, 1, 2])
    assert "its label is Tensor of shape (3,)" in wrong(Pairs(slice(0, 3), label=lambda label: torch.eye(3)[label]))
    assert "changes labels" in wrong(targeted())
    assert "no length and no items by number" in wrong(Endless())
    assert "pairs of an image and a label" in wrong(TensorDataset(torch.zeros(2, 3, 6, 6)))


def targeted() -> Any:
    held = Pairs(slice(0, 3))
    held.target_transform = lambda label: 2 - label  # type: ignore[attr-defined]
    return held


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return iter([])


def test_torchvisions_own_folders(tmp_path: Path) -> None:
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    for index in range(30):
        path = tmp_path / NAMES[Y[index]] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(X[index]))
    for transform in (None, transforms.ToTensor()):
        assert by_content(from_held(PETS, ImageFolder(str(tmp_path), transform)).test) == expected(slice(0, 30), LABELS)
    five = replace(ENTRY, num_classes=5)
    assert "3 classes (airplane, cat, dog), but the model has 5" in wrong(ImageFolder(str(tmp_path)), five)


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_x", "train_y", "test_x", "test_y"),
        ("trainX", "trainY", "testX", "testY"),
        ("xtr", "ytr", "xte", "yte"),
        ("Xtrain", "ytrain", "Xval", "yval"),
        ("train_images", "train_labels", "val_images", "val_labels"),
        ("images_train", "labels_train", "images_test", "labels_test"),
        ("train_data", "train_targets", "test_data", "test_targets"),
        ("x_training", "y_training", "x_testing", "y_testing"),
    ],
)
def test_names_of_arrays(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (X[:30], Y[:30], X[30:45], Y[30:45]), strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, tmp_path / "a.safetensors")
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path / "a.pt")
    (tmp_path / "npy").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "npy" / f"{name}.npy", array)
    for place in ("a.npz", "a.safetensors", "a.pt", "npy"):
        images = image_set(ENTRY, data=tmp_path / place)
        assert by_content(images.train) == expected(slice(0, 30), [0, 1, 2]) and by_content(images.test) == expected(
            slice(30, 45), [0, 1, 2]
        )
    assert by_content(from_held(ENTRY, arrays).train) == expected(slice(0, 30), [0, 1, 2])


def test_a_file_for_each_part_and_names_of_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "train.npz", images=X[:30], labels=np.array(NAMES)[Y[:30]])
    np.savez(tmp_path / "test.npz", data=X[30:45], targets=Y[30:45], class_names=np.array(NAMES))
    assert by_content(image_set(PETS, data=tmp_path / "train.npz").train) == expected(slice(0, 30), LABELS)
    assert by_content(image_set(PETS, data=tmp_path / "test.npz").test) == expected(slice(30, 45), LABELS)
    both = image_set(PETS, data=tmp_path)
    assert by_content(both.train) == expected(slice(0, 30), LABELS) and by_content(both.test) == expected(slice(30, 45), LABELS)
    torch.save((torch.from_numpy(X[:9]), torch.from_numpy(Y[:9])), tmp_path / "training.pt")
    assert by_content(image_set(ENTRY, data=tmp_path / "training.pt").train) == expected(slice(0, 9), [0, 1, 2])
    np.savez(tmp_path / "twice.npz", x_test=X, test_images=X, y_test=Y)
    assert "x_test and test_images may both be x_test; keep one" in refused(tmp_path / "twice.npz")
    torch.save(Pairs(slice(0, 3)), tmp_path / "test.pt")
    assert "it holds Python objects, which are code" in refused(tmp_path / "test.pt")
    np.save(tmp_path / "x_test.npy", X)
    assert "one array alone has no labels" in refused(tmp_path / "x_test.npy")
