"""The outputs of many images: those that are known are read, the others are sent by batches, each image once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from securitynet.store import Book, Values

SHORT, LONG = 0.01, 0.5  # seconds between two looks at what another process sends
Send = Callable[[np.ndarray], Values]
Again = Callable[[int], np.ndarray]


class Gathering:
    """Collects the outputs of `count` images in `values`, float32 [count, k].

    `send` returns the outputs of images [m, ...], m at most `size`; `again` returns one image by its place, for those that
    another process began to send and did not finish. Batches are full but for the last, whatever is known already.
    """

    def __init__(self, book: Book, count: int, size: int, send: Send, again: Again) -> None:
        self.book, self.count, self.size, self.send, self.again = book, count, size, send, again
        self.values: Values = np.empty((count, 0), np.float32)
        self._places: dict[bytes, list[int]] = {}  # of images whose outputs are to come
        self._next: list[tuple[bytes, np.ndarray | None]] = []
        self._others: list[bytes] = []  # that another process sends, or sent just now

    def known(self, places: Sequence[int], keys: Sequence[bytes]) -> list[int]:
        """Read what is known of the images at `places`; return the positions in `places` of the others."""
        found, values = self.book.get(keys)
        self._fill(np.asarray(places)[found], values)
        return [int(one) for one in np.flatnonzero(~found)]

    def offer(self, places: Sequence[int], keys: Sequence[bytes], images: np.ndarray) -> None:
        """Read or send what is known or not of images [m, ...], by their places and keys."""
        for one in self.known(places, keys):
            waiting = self._places.setdefault(keys[one], [])
            if not waiting:
                self._next.append((keys[one], images[one]))
            waiting.append(places[one])
        while len(self._next) >= self.size:
            self._send()

    def finished(self) -> Values:
        """Send what is left, wait for what other processes send, and return all outputs."""
        pause = SHORT
        while self._next or self._others:
            if not self._next:
                self.book.refresh()
                self._next, self._others = [(key, None) for key in self._others[: self.size]], self._others[self.size :]
            before = len(self._places)
            self._send()
            if self._next or len(self._places) < before:
                pause = SHORT
            elif self._others:
                time.sleep(pause)
                pause = min(LONG, 2 * pause)
        self.book.store.wrote(0, last=True)
        return self.values

    def _send(self) -> None:
        """Send those of the next images that no other process sends and that are still not known."""
        batch, self._next = dict(self._next[: self.size]), self._next[self.size :]
        keys = list(batch)
        with self.book.claimed(keys) as mine:
            own = [key for key, sends in zip(keys, mine, strict=True) if sends]
            if own:
                values = self.send(np.stack([self._image(key, batch[key]) for key in own]))
                self.book.add(own, values)
                self._arrived(own, values)
        rest = [key for key, sends in zip(keys, mine, strict=True) if not sends]
        found, values = self.book.get(rest)
        self._arrived([key for key, known in zip(rest, found, strict=True) if known], values)
        self._others += [key for key, known in zip(rest, found, strict=True) if not known]

    def _image(self, key: bytes, image: np.ndarray | None) -> np.ndarray:
        return self.again(self._places[key][0]) if image is None else image

    def _arrived(self, keys: Sequence[bytes], values: Values) -> None:
        places = [self._places.pop(key) for key in keys]
        rows = np.repeat(np.arange(len(keys)), [len(one) for one in places])
        self._fill(np.asarray([place for one in places for place in one], np.int64), values[rows])

    def _fill(self, places: np.ndarray, values: Values) -> None:
        if not len(places):
            return
        if not self.values.shape[1]:
            self.values = np.zeros((self.count, values.shape[1]), np.float32)
        self.values[places] = values
