"""Arrays in files without code: .npz, .npy, .pt and .pth (read with weights_only), .safetensors, .mat; one file, or one for each part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securitynet.data.arrays import Parts, assembled, load_npy, load_npz, read_arrays
from securitynet.data.labels import ClassOrder
from securitynet.data.request import TRAIN, VALIDATION, ImageRequest, split_of
from securitynet.data.spelling import Slot, slots
from securitynet.errors import DataError
from securitynet.foreign import credible, regular

Arrays = Mapping[str, Any]
PAIR = ("x", "y")


def read_array_file(path: Path, request: ImageRequest) -> tuple[Parts, ClassOrder | None]:
    """Return the parts of a file of arrays, and the order of its classes. Raises DataError."""
    return read_arrays(_load(path), str(path), request, part_of(path.stem))


def is_array_folder(folder: Path) -> bool:
    """Say whether a folder holds files of arrays that say what they are."""
    return any(_has_slot(path) for path in _files(folder))


def read_array_folder(folder: Path, request: ImageRequest) -> tuple[Parts, ClassOrder | None]:
    """Return the parts of a folder with x_train.npy, y_train.npy, ..., or with train.npz and test.npz (.pt, .safetensors).

    Raises DataError, also where two files hold the same.
    """
    found: dict[Slot, tuple[str, Any]] = {}
    for path in filter(_has_slot, _files(folder)):
        arrays = {path.stem: load_npy(path)} if path.suffix == ".npy" else _load(path)
        for slot, name in slots(arrays, part_of(path.stem), str(path)).items():
            label = path.name if path.suffix == ".npy" else f"{path.name}: {name}"
            if slot in found and slot[0] != "names":
                raise DataError(f"{folder}: {found[slot][0]} and {label} are both {'_'.join(map(str, slot))}; keep one")
            found[slot] = label, arrays[name]
    return assembled(found, str(folder), request)


def part_of(stem: str) -> str | None:
    """Return the part that a file's name says: train, test, val or None."""
    split = split_of(stem)
    return None if split is None else "train" if split in TRAIN else "val" if split in VALIDATION else "test"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMATS and path.is_file())


def _has_slot(path: Path) -> bool:
    from securitynet.data.spelling import slot_of

    if path.suffix.lower() != ".npy":
        return part_of(path.stem) is not None
    slot = slot_of(path.stem)
    return slot is not None and (slot[1] is not None or slot[0] == "names")


def _load(path: Path) -> Arrays:
    regular(path, DataError)
    try:
        return FORMATS[path.suffix.lower()](path)
    except DataError:
        raise
    except Exception as error:  # the libraries raise errors of their own
        line = " ".join(str(error).split())[:160]
        raise DataError(f"{path}: not a readable file of plain arrays ({line or type(error).__name__}); {REMEDY}") from error


def _torch(path: Path) -> Arrays:
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:
        line = "it holds Python objects, which are code" if "weights_only" in str(error).lower() else str(error).split("\n")[0][:120]
        raise DataError(f"{path}: not a readable file of plain tensors ({line}); {REMEDY}") from error
    if isinstance(held, list | tuple) and len(held) >= 2 and all(isinstance(one, torch.Tensor) for one in held[:2]):
        return dict(zip(PAIR, held, strict=False))  # torchvision's processed/training.pt once was so
    if not isinstance(held, Mapping) or not all(isinstance(name, str) for name in held):
        raise DataError(f"{path}: holds a {type(held).__name__}; {REMEDY}")
    return held


def _safetensors(path: Path) -> Arrays:
    from safetensors.numpy import load_file

    return load_file(path)


def _matlab(path: Path) -> Arrays:
    """As MATLAB saves them up to version 7; images stand last there ([h, w, c, n], as in SVHN)."""
    from scipy.io import loadmat, whosmat

    if not credible(path.stat().st_size, sum(8 * math.prod(shape) for _, shape, _ in whosmat(path))):
        raise ValueError("it unpacks to far more bytes than images do")
    found = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    x, y = found.get("X"), found.get("y")
    if x is not None and y is not None and x.ndim == 4 and x.shape[-1] == y.size != x.shape[0]:
        found["X"], found["y"] = x.transpose(3, 0, 1, 2), y.reshape(-1)
    if y is not None and path.name.endswith("_32x32.mat"):  # SVHN, where 10 stands for the digit 0
        found["y"] = found["y"] % 10
    elif y is not None and y.size and y.dtype.kind in "iu" and y.min() > 0:
        raise ValueError(f"its labels run from {y.min()}, as MATLAB counts")
    return found


def _lone(path: Path) -> Arrays:
    raise DataError(f"{path}: one array alone has no labels; give the folder that holds x_test.npy and y_test.npy")


REMEDY = "save uint8 images and integer labels with numpy.savez, names x_test and y_test"
FORMATS = {".npz": load_npz, ".npy": _lone, ".pt": _torch, ".pth": _torch, ".safetensors": _safetensors, ".mat": _matlab}
