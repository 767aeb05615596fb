"""Pixels as networks take them, decoded and resized once per image and transform, kept on disk for all models and processes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from securitynet.cache import digest
from securitynet.store import KEY, Book, OutputStore
from securitynet.threads import cores

if TYPE_CHECKING:
    from PIL.Image import Image

    from securitynet.data import Images
    from securitynet.data.pixels import Pixels

FOLDER = "pixels"  # of the cache
MOST_WORKERS = 8


class PixelStore:
    """Pixels by image and by what decides them (`pixels_id`), below one directory, at most `limit` bytes in all.

    Those that come out as uint8 are kept so, others as float32; images that were not used for longest go first. Reads go through
    the system's page cache, which processes share. A damaged row, or one that is gone, is made again.
    """

    def __init__(self, directory: Path, limit: int | None = None) -> None:
        self.store = OutputStore(directory, limit, "prepared pixels")
        self._lock = Lock()

    def rows(self, images: Images, rule: Pixels, chosen: np.ndarray) -> np.ndarray:
        """Return the pixels [m, c, h, w] of the images at `chosen` [m]: uint8 where all of them are, else float32 in 0..255."""
        keys = [int(index).to_bytes(KEY, "little") for index in chosen]
        with self._lock:
            found: dict[int, np.ndarray] = {}
            books = self._books(images, rule)
            for book in books:
                _read(book, keys, found, rule.input_size)
            missing = [place for place in range(len(keys)) if place not in found]
            found.update(zip(missing, made(images, rule, [int(chosen[place]) for place in missing]), strict=True))
            for book in books:
                self._keep(book, [(keys[place], found[place]) for place in missing if found[place].dtype == book.dtype])
            return np.stack([found[place] for place in range(len(keys))])

    def _books(self, images: Images, rule: Pixels) -> list[Book]:
        name = digest(FOLDER, images.fingerprint, getattr(images, "grey", None), rule.id)
        books = [self.store.book(name[:-2] + kind, dtype) for kind, dtype in (("u1", np.uint8), ("f4", np.float32))]
        for book in books:
            book.refresh()
        return books

    def _keep(self, book: Book, rows: Sequence[tuple[bytes, np.ndarray]]) -> None:
        if rows and self.store.writable:
            book.add([key for key, _ in rows], np.stack([row.reshape(-1) for _, row in rows]))


def _read(book: Book, keys: Sequence[bytes], found: dict[int, np.ndarray], shape: tuple[int, ...]) -> None:
    """Put what a book holds into `found`, by place."""
    left = [place for place in range(len(keys)) if place not in found]
    if not len(book) or not left:
        return
    known, values = book.get([keys[place] for place in left])
    found.update((left[one], row.reshape(shape)) for one, row in zip(np.flatnonzero(known), values, strict=True))


@dataclass(frozen=True)
class Kept:
    """What decides the pixels, and where they are kept: stands for `rule` everywhere."""

    rule: Pixels
    store: PixelStore = field(compare=False, repr=False)

    @property
    def input_size(self) -> tuple[int, ...]:
        """See Pixels."""
        return self.rule.input_size

    @property
    def id(self) -> str:
        """See Pixels."""
        return self.rule.id

    @property
    def description(self) -> str:
        """See Pixels."""
        return self.rule.description

    def __call__(self, image: Image | np.ndarray) -> np.ndarray:
        """See Pixels."""
        return self.rule(image)

    def batch(self, array: np.ndarray) -> np.ndarray | None:
        """See Pixels."""
        return self.rule.batch(array)

    def compared(self) -> str | None:
        """See Pixels."""
        return self.rule.compared()


def beside(known: Pixels, rule: Pixels) -> Pixels:
    """Return another rule whose pixels are kept where those of `known` are, if they are."""
    return Kept(rule, known.store) if isinstance(known, Kept) else rule


def prepared(images: Images, rule: Pixels, chosen: np.ndarray) -> np.ndarray:
    """Return the pixels [m, c, h, w] of the images at `chosen` [m]: read where they are kept, else made."""
    return rule.store.rows(images, rule, chosen) if isinstance(rule, Kept) else np.stack(made(images, rule, chosen))


def made(images: Images, rule: Pixels, chosen: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Decode and prepare images, several at once where they may be: the libraries that do it let other threads run meanwhile."""
    if len(chosen) < 2 or not getattr(images, "threads", False):
        return [rule(images[int(index)]) for index in chosen]
    with ThreadPoolExecutor(min(MOST_WORKERS, cores(), len(chosen)), "prepare") as workers:  # none of them outlives the call
        return list(workers.map(lambda index: rule(images[int(index)]), chosen))
