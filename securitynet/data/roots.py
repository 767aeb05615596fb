"""The folders that torchvision's datasets download: raw files in layouts of their own, read without torchvision and without pickle."""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.data import ArrayImages, Images
from securitynet.data.arrays import DAMAGE, IDX, read_idx
from securitynet.data.dataset import find
from securitynet.data.folder import class_listing
from securitynet.data.labels import class_order
from securitynet.data.listing import Found, Listing, found
from securitynet.data.request import ImageRequest
from securitynet.errors import DataError
from securitynet.foreign import regular

Reader = Callable[[Path, ImageRequest], Found]
MOST_BYTES = 1 << 30
NUMPY = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
}


class _Plain(pickle.Unpickler):
    """An unpickler of texts, lists and arrays of numbers: everything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NUMPY:
            raise pickle.UnpicklingError(f"it holds {module[:40]}.{name[:40]}, which is code")
        return super().find_class(*NUMPY[module, name])


def root_of(folder: Path, request: ImageRequest) -> tuple[Path, Reader] | None:
    """Return the folder of a known layout within `folder`, at most three levels down, and its reader; None where there is none.

    Where several data sets lie there, it is that of the model's dataset. Raises DataError where none of them is.
    """
    places = [folder, *_below(folder, 3)]
    known = [(place, key, reader) for place in places for name, key, reader in LAYOUTS if place.name == name and place.is_dir()]
    known += [(place, _key(place.parent.name), _raw) for place in places if place.name == "raw" and any(place.glob(IDX))]
    wanted = [one for one in known if request.record is not None and one[1] == request.record.key]
    if len({key for _, key, _ in known}) > 1 and not wanted:
        raise DataError(f"{folder}: holds {', '.join(sorted({key for _, key, _ in known}))[:120]}; give the folder of one of them")
    return next(((place, reader) for place, _, reader in wanted or known), None)


def _key(name: str) -> str:
    record = find(name)
    return record.key if record else name


def _below(folder: Path, levels: int) -> list[Path]:
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))[:50] if levels else []
    return [one for child in children for one in (child, *_below(child, levels - 1))]


def _raw(folder: Path, request: ImageRequest) -> Found:
    return Found(read_idx(folder))


def _cifar(label: str, meta: str, names: str) -> Reader:
    def read(folder: Path, request: ImageRequest) -> Found:
        held = {path.name: _batch(path) for path in sorted(folder.iterdir()) if path.name in BATCHES}
        order = None
        if (folder / meta).is_file():
            listed = [one.decode() if isinstance(one, bytes) else str(one) for one in _batch(folder / meta).get(names, [])]
            order = class_order(listed, request.classes, str(folder / meta), request.num_classes)
        parts: dict[str, Images | None] = {}
        for part, chosen in (("train", [one for one in held if "test" not in one]), ("test", [one for one in held if "test" in one])):
            if not chosen:
                parts[part] = None
                continue
            pixels = np.concatenate([np.asarray(held[one].get("data"), np.uint8).reshape(-1, 3, 32, 32) for one in chosen])
            labels = np.concatenate([np.asarray(held[one].get(label), np.int64) for one in chosen])
            parts[part] = ArrayImages(pixels.transpose(0, 2, 3, 1), order(labels) if order else labels)
        return Found(parts, order)

    return read


def _batch(path: Path) -> dict[str, Any]:
    if regular(path, DataError).stat().st_size > MOST_BYTES:
        raise DataError(f"{path}: too long for a part of CIFAR; fetch it again")
    try:
        held = _Plain(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        return {one.decode() if isinstance(one, bytes) else str(one): value for one, value in dict(held).items()}
    except (*DAMAGE, pickle.UnpicklingError, AttributeError, ImportError) as error:
        line = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: not a part of CIFAR as it is published ({line}); fetch it again") from error


def _binary(labels: int) -> Reader:
    """CIFAR's binary version: `labels` bytes of labels (of two the second is the fine one), then 3,072 of pixels."""

    def read(folder: Path, request: ImageRequest) -> Found:
        parts: dict[str, Images | None] = {}
        names = [one for one in ("batches.meta.txt", "fine_label_names.txt") if (folder / one).is_file()]
        listed = (folder / names[0]).read_text(encoding="utf-8", errors="replace").split() if names else []
        order = class_order(listed, request.classes, str(folder / names[0]), request.num_classes) if listed else None
        for part, pattern in (("train", ("data_batch_?.bin", "train.bin")), ("test", ("test_batch.bin", "test.bin"))):
            files = [path for one in pattern for path in sorted(folder.glob(one))]
            rows = [_records(path, labels + 3072) for path in files]
            if not rows:
                parts[part] = None
                continue
            table = np.concatenate(rows)
            numbers = table[:, labels - 1].astype(np.int64)
            pixels = table[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            parts[part] = ArrayImages(np.ascontiguousarray(pixels), order(numbers) if order else numbers)
        return Found(parts, order)

    return read


def _records(path: Path, size: int) -> np.ndarray:
    data = np.fromfile(regular(path, DataError), np.uint8)
    if len(data) == 0 or len(data) % size:
        raise DataError(f"{path}: its {len(data):,} bytes are no whole number of records of {size}; fetch it again")
    return data.reshape(-1, size)


def _stl10(folder: Path, request: ImageRequest) -> Found:
    """STL-10: columns of 96 x 96 pixels by channel, labels 1 to 10."""
    parts: dict[str, Images | None] = {}
    names = (folder / "class_names.txt").read_text(encoding="utf-8").split() if (folder / "class_names.txt").is_file() else []
    order = class_order(names, request.classes, str(folder), request.num_classes) if names else None
    for part in ("train", "test"):
        if not (folder / f"{part}_X.bin").is_file():
            parts[part] = None
            continue
        pixels = _records(folder / f"{part}_X.bin", 3 * 96 * 96).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
        labels = _records(folder / f"{part}_y.bin", 1)[:, 0].astype(np.int64) - 1
        if len(labels) != len(pixels):
            raise DataError(f"{folder}: {part}_X.bin has {len(pixels)} images, {part}_y.bin {len(labels)} labels; fetch them again")
        parts[part] = ArrayImages(np.ascontiguousarray(pixels), order(labels) if order else labels)
    return Found(parts, order)


def _gtsrb(folder: Path, request: ImageRequest) -> Found:
    """GTSRB: class folders of training images, one folder of test images, whose classes stand in GT-final_test.csv."""
    listings: dict[str, Listing] = {}
    train = next((folder / one for one in ("Training", "Final_Training/Images") if (folder / one).is_dir()), None)
    if train is not None:
        listings["train"] = class_listing(train, folder)
    test = folder / "Final_Test" / "Images"
    if test.is_dir():
        places = (folder.parent / "GT-final_test.csv", folder / "GT-final_test.csv", test / "GT-final_test.csv")
        path = next((one for one in places if one.is_file()), None)
        if path is None:
            raise DataError(f"{folder}: the test images have no classes; put GT-final_test.csv beside {folder.name}")
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8", errors="replace")), delimiter=";"))
        if not rows or not {"Filename", "ClassId"} <= rows[0].keys():
            raise DataError(
                f"{path}: holds no columns Filename and ClassId (the test set without classes has the same name); fetch it again"
            )
        names = [(test / Path(row["Filename"]).name, row["ClassId"].zfill(5)) for row in rows]
        listings["test"] = Listing.of_paths([one for one, _ in names], [name for _, name in names], folder)
    return found(listings, request, str(folder), folders=True)


def _cub(folder: Path, request: ImageRequest) -> Found:
    """CUB-200-2011: images.txt, image_class_labels.txt (from 1), train_test_split.txt (1: training); images/ in class folders."""
    tables = {name: _two_columns(folder / f"{name}.txt") for name in ("images", "image_class_labels", "train_test_split")}
    listings: dict[str, Listing] = {}
    for part, flag in (("train", "1"), ("test", "0")):
        ids = [one for one in tables["images"] if tables["train_test_split"].get(one) == flag]
        paths = [_inside(folder / "images", tables["images"][one]) for one in ids]
        if ids:
            listings[part] = Listing.of_paths(paths, np.array([int(tables["image_class_labels"][one]) - 1 for one in ids]), folder)
    return found(listings, request, str(folder))


def _two_columns(path: Path) -> Mapping[str, str]:
    lines = regular(path, DataError).read_text(encoding="utf-8", errors="replace").split("\n")
    rows = [line.split(maxsplit=1) for line in lines if line.strip()]
    if any(len(row) != 2 for row in rows):
        raise DataError(f"{path}: not two columns; fetch it again")
    return {first: second.strip() for first, second in rows}


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise DataError(f"{folder}: names {name[:80]}, which lies outside; it is not opened")
    return regular(path, DataError)


def _tiny(folder: Path, request: ImageRequest) -> Found:
    """Tiny ImageNet: train/WNID/images/, val/images/ with val_annotations.txt; classes are the sorted WordNet ids."""
    listings = {"train": class_listing(folder / "train", folder)} if (folder / "train").is_dir() else {}
    if (table := folder / "val" / "val_annotations.txt").is_file():
        rows = {name: rest.split()[0] for name, rest in _two_columns(table).items()}
        paths = [_inside(folder / "val" / "images", name) for name in rows]
        listings["test"] = Listing.of_paths(paths, list(rows.values()), folder)
    return found(listings, request, str(folder), folders=True)


BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "train", "test")
LAYOUTS: tuple[tuple[str, str, Reader], ...] = (
    ("cifar-10-batches-py", "CIFAR-10", _cifar("labels", "batches.meta", "label_names")),
    ("cifar-100-python", "CIFAR-100", _cifar("fine_labels", "meta", "fine_label_names")),
    ("cifar-10-batches-bin", "CIFAR-10", _binary(1)),
    ("cifar-100-binary", "CIFAR-100", _binary(2)),
    ("stl10_binary", "STL-10", _stl10),
    ("GTSRB", "GTSRB", _gtsrb),
    ("CUB_200_2011", "CUB-200-2011", _cub),
    ("tiny-imagenet-200", "Tiny ImageNet", _tiny),
)
