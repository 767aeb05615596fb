"""Images in arrays: .npz files, IDX files, and arrays in memory."""

from __future__ import annotations

import gzip
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.data import ArrayImages
from securitynet.data.labels import ClassOrder, class_order, of_texts
from securitynet.data.request import TRAIN, ImageRequest, split_of
from securitynet.data.spelling import Slot, slot_of, slots
from securitynet.errors import DataError
from securitynet.foreign import credible, regular

IDX = "*idx[13]-ubyte*"
IDX_UINT8, MOST_AXES, MOST_SIDE = 0x08, 4, 100_000_000
DAMAGE = (
    *(ArithmeticError, EOFError, LookupError, MemoryError, NotImplementedError, OSError, RecursionError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
PLAIN = "biufU"
ANYTHING = ImageRequest()
Parts = dict[str, ArrayImages | None]


def load_npz(path: Path) -> dict[str, np.ndarray | None]:
    """Return the arrays of a .npz file by name; None for one whose name says that it is neither images nor labels."""
    try:
        if not zipfile.is_zipfile(regular(path, DataError)):
            raise ValueError("it is no zip archive")
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if not credible(path.stat().st_size, sum(info.file_size for info in members.values())):
                raise ValueError("it unpacks to far more bytes than images do")
            return {name: _array(archive, info) if slot_of(name) else None for name, info in members.items()}
    except DAMAGE as error:
        raise DataError(f"{path}: not a readable .npz file of plain arrays ({_line(error)})") from error


def load_npy(path: Path) -> np.ndarray:
    """Return the array of a .npy file. Raises DataError."""
    try:
        array: np.ndarray = np.load(regular(path, DataError), mmap_mode="r", allow_pickle=False)
    except DAMAGE as error:
        raise DataError(f"{path}: not a readable .npy file of a plain array ({_line(error)})") from error
    return np.asarray(array)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array of an archive; its header is read first, and must agree with the member's size."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        begin = file.tell()
    if dtype.hasobject:
        raise ValueError(f"{info.filename} holds Python objects, which are code")
    if dtype.kind in PLAIN and math.prod(shape) * dtype.itemsize != info.file_size - begin:
        raise ValueError(f"{info.filename} states the shape {shape}, which its {info.file_size:,} bytes do not hold")
    if dtype.kind not in PLAIN:
        return np.empty(0, dtype)  # not numbers: read_arrays says so
    with archive.open(info) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def read_arrays(
    arrays: Mapping[str, Any], what: str, request: ImageRequest = ANYTHING, part: str | None = None
) -> tuple[Parts, ClassOrder | None]:
    """Return the parts `train` and `test` of arrays x_train, y_train, x_test, y_test, or in other spellings (see spelling.py).

    Images are uint8, NHWC or NHW (of a model of volumes NDHW), labels integers [n] or [n, 1], or the names of classes;
    class_names are those of integers. Other arrays are ignored. `part`: of arrays that do not say it. A part may be missing.
    The fingerprint is the content's. Raises DataError, beginning with `what`, that names the array and the remedy.
    """
    return assembled({slot: (name, arrays[name]) for slot, name in slots(map(str, arrays), part, what).items()}, what, request)


def assembled(found: Mapping[Slot, tuple[str, Any]], what: str, request: ImageRequest) -> tuple[Parts, ClassOrder | None]:
    """Return the parts that arrays make up, each by slot with its name; see read_arrays()."""
    order = None
    if ("names", None) in found and (names := _names(_plain(*found["names", None], what))):
        order = class_order(names, request.classes, f"{what}: {found['names', None][0]}", request.num_classes)
    parts: Parts = {}
    for part in ("train", "test"):
        x, y = found.get(("x", part)), found.get(("y", part))
        if (x is None) != (y is None):
            raise DataError(f"{what}: {'xy'[y is None]}_{part} is missing beside {(x or y or ('',))[0]}")
        parts[part] = None if x is None or y is None else _part(x, y, what, request, order)
    return parts, order


def check_arrays(arrays: Mapping[str, Any], what: str) -> None:
    """Raise DataError for what read_arrays() would refuse of any model: names, types and lengths."""
    found = {slot: (name, _plain(name, arrays[name], what)) for slot, name in slots(arrays, None, what).items()}
    for part in ("train", "test"):
        x, y = found.get(("x", part)), found.get(("y", part))
        if (x is None) != (y is None):
            raise DataError(f"{what}: {'xy'[y is None]}_{part} is missing beside {(x or y or ('',))[0]}")
        if x is None or y is None:
            continue
        _bytes(x[1], f"{what}: {x[0]}")
        if x[1].ndim not in (3, 4):
            raise DataError(f"{what}: {x[0]} has shape {x[1].shape}, expected is [n, height, width] or with channels or a depth")
        if y[1].dtype.kind not in "US":
            _labels(y[1], f"{what}: {y[0]}")
        if len(x[1]) != len(y[1]):
            raise DataError(f"{what}: {x[0]} has {len(x[1])} images, {y[0]} {len(y[1])} labels")


def _plain(name: str, value: Any, what: str) -> np.ndarray:
    """An array of NumPy; torch's are taken as they are. Raises DataError."""
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: {name} is no plain array ({_line(error)})") from error


def _names(array: np.ndarray) -> list[str]:
    return [str(one) for one in array] if array.ndim == 1 and array.dtype.kind == "U" else []


def _part(x: tuple[str, Any], y: tuple[str, Any], what: str, request: ImageRequest, order: ClassOrder | None) -> ArrayImages:
    images, labels = _images(_plain(*x, what), f"{what}: {x[0]}", request.volumes), _plain(*y, what)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind == "U":
        labels = of_texts([str(one) for one in labels.reshape(-1)], request.classes, f"{what}: {y[0]}", request.num_classes)
    else:
        labels = _labels(labels, f"{what}: {y[0]}")
        labels = order(labels) if order else labels
    if len(images) != len(labels):
        raise DataError(f"{what}: {x[0]} has {len(images)} images, {y[0]} {len(labels)} labels")
    return ArrayImages(images, labels)


def _bytes(x: np.ndarray, what: str) -> None:
    if x.dtype != np.uint8:
        unit = x.dtype.kind == "f" and x.size > 0 and np.nanmin(x) >= 0 and np.nanmax(x) <= 1
        remedy = "they lie in [0,1]: save (x * 255).round().astype('uint8')" if unit else "save pixels 0..255 as uint8"
        raise DataError(f"{what} holds {x.dtype}, images must be uint8; {remedy}")


def _images(x: np.ndarray, what: str, volumes: bool) -> np.ndarray:
    _bytes(x, what)
    if volumes and x.ndim == 4:
        return x
    if x.ndim == 4 and x.shape[-1] in (1, 3, 4):
        return x
    if x.ndim == 4 and x.shape[1] in (1, 3):
        raise DataError(f"{what} has shape {x.shape}, channels first; save x.transpose(0, 2, 3, 1)")
    if volumes or x.ndim != 3:
        expected = "[n, depth, height, width]" if volumes else "[n, height, width, channels] or [n, height, width]"
        raise DataError(f"{what} has shape {x.shape}, expected is {expected}")
    return x


def _labels(y: np.ndarray, what: str) -> np.ndarray:
    if y.dtype.kind not in "iu":
        raise DataError(f"{what} holds {y.dtype}, labels must be integers; save y.astype('int64')")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{what} has shape {y.shape}, expected is one label per image; for one-hot labels save y.argmax(axis=1)")
    return y.astype(np.int64)


def read_idx(folder: Path) -> Parts:
    """Return the parts of a folder of IDX files: train-* and t10k-*, images-idx3-ubyte and labels-idx1-ubyte, plain or .gz."""
    arrays: dict[str, np.ndarray] = {}
    files: dict[str, Path] = {}
    for path in sorted(folder.glob(IDX)):
        split = split_of(path.name)
        kind = {"images": "x", "labels": "y"}.get(next((word for word in ("images", "labels") if word in path.name), ""))
        if kind is None or split is None:
            continue
        name = f"{kind}_{'train' if split in TRAIN else 'test'}"
        if (other := files.setdefault(name, path)).name.removesuffix(".gz") != path.name.removesuffix(".gz"):
            raise DataError(f"{folder}: {other.name} and {path.name} are both {name}; move one of them elsewhere")
        if other is path:
            arrays[name] = _idx(path)
    return read_arrays(arrays, str(folder))[0]


def _idx(path: Path) -> np.ndarray:
    """An IDX file: two zero bytes, the type, the number of axes, their lengths as big-endian 32 bits, the values."""
    regular(path, DataError)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zero, kind, axes = struct.unpack(">HBB", file.read(4))
            if zero != 0 or kind != IDX_UINT8 or not 1 <= axes <= MOST_AXES:
                raise ValueError("not an IDX file of bytes")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            if max(shape) > MOST_SIDE or not credible(path.stat().st_size, math.prod(shape)):
                raise ValueError(f"its shape {shape} is far more than such a file holds")
            values = np.frombuffer(file.read(math.prod(shape) + 1), np.uint8)
    except DAMAGE as error:
        raise DataError(f"{path}: not a readable IDX file ({_line(error)}); fetch it again") from error
    if values.size != math.prod(shape):
        found = values.size if values.size < math.prod(shape) else f"more than {math.prod(shape)}"
        raise DataError(f"{path}: not an IDX file of bytes, or cut short: {found} values for shape {shape}; fetch it again")
    return values.reshape(shape)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
