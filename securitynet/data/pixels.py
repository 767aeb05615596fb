"""What decides the pixels that a model is fed: the rule, and one value that stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from securitynet.cache import digest
from securitynet.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SHAPES = ((287, 431), (300, 197), (31, 40), (203, 301))  # height and width: wide, tall, small, odd


class Pixels(Protocol):
    """A rule that makes the pixels of a network from images, up to its normalisation, which is the target's."""

    @property
    def input_size(self) -> tuple[int, ...]:
        """Channels, [depth,] height and width of what comes out."""

    @property
    def id(self) -> str:
        """sha256 of the rule, its backend and the pixels of four fixed pictures (column `pixels_id`)."""

    @property
    def description(self) -> str:
        """What decided the pixels, and with which backend (column `preprocessing`)."""

    def __call__(self, image: Image | np.ndarray) -> np.ndarray:
        """Return [c, h, w] (volumes: [c, d, h, w]): uint8, or float32 in units of 0..255 where the values are no whole numbers."""

    def batch(self, array: np.ndarray) -> np.ndarray | None:
        """Return uint8 [n, c, h, w] of a whole array that the rule leaves as it is; None where it does not."""

    def compared(self) -> str | None:
        """Say how other implementations of the same rule differ on the four pictures; None where there is none."""


@cache
def pictures(channels: int = 3) -> tuple[np.ndarray, ...]:
    """Return the four fixed pictures, uint8 [h, w, 3] (one channel: [h, w]): smooth waves with sharp edges, made from a formula."""
    made = []
    for number, (height, width) in enumerate(SHAPES):
        y, x = np.mgrid[0:height, 0:width].astype(np.int64)
        planes = [(x * (3 + c) + y * (5 - c) + (x * y) // (7 + number + c) + 40 * ((x // 9 + y // (5 + c)) % 2)) % 256 for c in range(3)]
        picture = np.stack(planes, -1).astype(np.uint8)
        made.append(picture if channels == 3 else picture[..., 0])
    return tuple(made)


def identity(rule: str, backend: str, prepare: Callable[[np.ndarray], np.ndarray] | None, channels: int) -> str:
    """Return the sha256 of a rule, its backend and what it makes of the fixed pictures (None: it takes no such pictures)."""
    results = [] if prepare is None else [prepare(picture) for picture in pictures(channels)]
    return digest(
        rule, backend, [[str(one.dtype), one.shape, hashlib.sha256(np.ascontiguousarray(one).data).hexdigest()] for one in results]
    )


def distance(one: Callable[[np.ndarray], np.ndarray], other: Callable[[np.ndarray], np.ndarray], channels: int) -> tuple[float, float]:
    """Return the mean and the largest distance of two rules on the fixed pictures, in units of 0..255."""
    gaps = [np.abs(one(picture).astype(np.float64) - other(picture)) for picture in pictures(channels)]
    return float(np.mean([gap.mean() for gap in gaps])), float(max(gap.max() for gap in gaps))


def eight_bit(picture: Image, grey: bool) -> Image:
    """Return a PIL image in mode L or RGB; one in another mode (palette, CMYK, transparency) becomes L where `grey`, else RGB.

    Raises DataError for more than 8 bits per channel: there is no telling how they are meant to be scaled.
    """
    if picture.mode in ("L", "RGB"):
        return picture
    if picture.mode.startswith("I") or picture.mode == "F":
        raise DataError(f"images have more than 8 bits per channel (PIL mode {picture.mode}); convert them to 8 bits")
    return picture.convert("L" if grey else "RGB")


def as_picture(array: np.ndarray) -> Image:
    """Return an array [h, w] or [h, w, c] as a PIL image. Raises DataError for one that is none."""
    from PIL import Image

    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        raise DataError(f"an image is {array.dtype} {array.shape}, not uint8 [height, width] or [height, width, 1, 3 or 4]")
    return Image.fromarray(array)
