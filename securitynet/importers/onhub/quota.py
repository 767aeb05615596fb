"""How many requests the Hub still takes: what its answers say about the window that runs now, for each kind of request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ROUNDED = 5.0  # seconds by which the ends of one window may differ as they are told
MARGIN = 0.5  # seconds after a window's end: both sides round


@dataclass
class Window:
    """The window of one kind of request: `left` requests until `ends`, `limit` in a whole one. None: the Hub has not said."""

    left: int | None = None
    limit: int | None = None
    ends: float = 0.0


class Quota:
    """Counts requests of several threads. `now` and `sleep` are those of a clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self.now, self.sleep, self.waited = now, sleep, 0.0
        self._windows: dict[str, Window] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._all = threading.Lock()

    def take(self, kind: str) -> None:
        """Count one request; sleep first where the window has none left. Who sleeps keeps the others of that kind waiting."""
        with self._lock(kind):
            window = self._windows.setdefault(kind, Window())
            if window.left == 0 and window.ends > self.now():
                pause = window.ends - self.now() + MARGIN
                self.waited += pause
                self.sleep(pause)
            if window.ends <= self.now():
                window.left = window.limit
            if window.left is not None:
                window.left -= 1

    def learn(self, kind: str, headers: Mapping[str, str], asked: float) -> None:
        """Take in the headers of an answer to a request of that time. One of an older window says nothing any more."""
        from huggingface_hub.utils import parse_ratelimit_headers

        said = parse_ratelimit_headers(headers)
        if said is None:
            return
        with self._lock(kind):
            window, ends = self._windows.setdefault(kind, Window()), asked + said.reset_in_seconds
            if window.left is None or ends > window.ends + ROUNDED:
                window.left, window.ends = said.remaining, ends
            elif ends >= window.ends - ROUNDED:
                window.left = min(window.left, said.remaining)
            window.limit = said.limit or window.limit

    def refused(self, kind: str, seconds: float) -> None:
        """Nothing is left for so many seconds."""
        with self._lock(kind):
            window = self._windows.setdefault(kind, Window())
            window.left, window.ends = 0, max(window.ends, self.now() + seconds)

    def _lock(self, kind: str) -> threading.Lock:
        with self._all:
            return self._locks.setdefault(kind, threading.Lock())
