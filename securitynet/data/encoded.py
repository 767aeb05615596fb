"""Images as files are: JPEG, PNG, ... decoded one by one when they are asked for."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from securitynet.data.dataset import ImageDataset
from securitynet.data.transform import eight_bit
from securitynet.errors import DataError
from securitynet.foreign import regular

if TYPE_CHECKING:
    from PIL.Image import Image

PROBES = 16
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # what data sets have; others start programs, as EPS does
MOST_PIXELS = 89_000_000
DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, struct.error, zlib.error),
)


class Source(Protocol):
    """Encoded images by position, each with a name for messages."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[str, bytes | Path]: ...


class ImageFiles:
    """Image files by position."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, Path]:
        return str(self.paths[index]), self.paths[index]


class EncodedImages:
    """Images that are decoded when asked for, all to one mode: L where `grey`, else RGB. Labels int64 [n]."""

    threads = True  # several images may be decoded at the same time; the source gives one after the other

    def __init__(self, source: Source, labels: np.ndarray, fingerprint: str, grey: bool) -> None:
        self.source, self.labels, self.fingerprint, self.grey = source, labels, fingerprint, grey
        self._reading = Lock()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Image:
        with self._reading:
            name, data = self.source[index]
        picture = decode(name, data)
        try:
            picture = eight_bit(picture, self.grey)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        return picture.convert("L" if self.grey else "RGB") if (picture.mode == "L") != self.grey else picture


def decode(name: str, data: bytes | Path) -> Image:
    """Return the image of some bytes or of a regular file, in one of FORMATS. Raises DataError that names it where it cannot be read."""
    import PIL.Image

    if isinstance(data, Path):
        regular(data, DataError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, which nobody reads, and about sizes, which are judged below
            picture = PIL.Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS)
            if picture.width * picture.height > MOST_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} are more than {MOST_PIXELS:,} pixels")
            picture.load()
    except PIL.UnidentifiedImageError as error:
        raise DataError(f"{name}: the image cannot be read (it is none of {', '.join(FORMATS)}); repair or remove it") from error
    except (*DAMAGE, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{name}: the image cannot be read ({' '.join(str(error).split())[:160]}); repair or remove it") from error
    return picture


def is_grey(source: Source, record: ImageDataset | None) -> bool:
    """Return whether all images are to be taken as grey: as the record says, else as a few of them, evenly spaced, look.

    A few grey images among coloured ones are taken as coloured, as in ImageNet.
    """
    if record is not None and record.grey is not None:
        return record.grey
    probes = np.unique(np.linspace(0, len(source) - 1, min(PROBES, len(source)), dtype=int))
    return all(decode(*source[int(probe)]).mode in ("1", "L", "LA") for probe in probes)
