"""The images of handwritten digits that scikit-learn carries (UCI optical recognition of handwritten digits, test part)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from securitynet.data import ArrayImages, ImageSet
from securitynet.errors import DataError

if TYPE_CHECKING:
    from securitynet.entry import Entry

KEY = "digits"
CLASS_NAMES = tuple(str(digit) for digit in range(10))
TRAIN = 1000  # images before this one are for training, where a model does not say which it has seen


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all images, uint8 [1797, 8, 8] with 0..16 stretched to 0..255, and their labels int64 [1797]. Read-only."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    pixels.setflags(write=False)
    labels.setflags(write=False)
    return pixels, labels


def image_set(entry: Entry, folder: Path | None = None) -> ImageSet:
    """Return the digits for `entry`, whose members file (if it has one) lies in `folder`.

    With a members file: membership `index-file`, labels of the training part as trained. Without: split by position,
    membership `unknown`. Raises DataError where the members file is missing or does not fit.
    """
    pixels, labels = digits()
    if entry.members_file is None:
        train, test = ArrayImages(pixels[:TRAIN], labels[:TRAIN]), ArrayImages(pixels[TRAIN:], labels[TRAIN:])
        return ImageSet(KEY, train, test, ArrayImages(pixels, labels).fingerprint, "unknown", CLASS_NAMES)
    indices, as_trained = _members(entry, folder, len(labels))
    train, test = ArrayImages(pixels, as_trained), ArrayImages(pixels, labels)
    return ImageSet(KEY, train, test, test.fingerprint, "index-file", CLASS_NAMES, indices)


def _members(entry: Entry, folder: Path | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read `indices` [m] and `labels` [count] of the members file, checked."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = (folder or Path()) / Path(entry.members_file or "").name
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{entry.id}: members file {path.name} cannot be read ({error}); install the package again") from error
    if not {"indices", "labels"} <= arrays.keys():
        raise DataError(f"{entry.id}: {path.name} lacks indices or labels; it holds {', '.join(sorted(arrays))}")
    indices, labels = arrays["indices"].astype(np.int64), arrays["labels"].astype(np.int64)
    fits = (
        len(labels) == count
        and len(indices)
        and indices.min() >= 0
        and indices.max() < count
        and len(set(indices.tolist())) == len(indices)
    )
    if not fits:
        raise DataError(f"{entry.id}: {path.name} does not fit the {count} digits: {len(labels)} labels, {len(indices)} indices")
    return indices, labels
