"""What the tests of hostile inputs share: each must end in one short, plain line, soon."""

from __future__ import annotations

import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from securitynet.errors import SecurityNetError

CPU, WALL = 10, 300  # seconds: of computing, and of waiting for a pipe that nobody fills
TRACED = 6 * CPU  # a tool that measures coverage traces each line


class TookTooLong(BaseException):
    """Nobody catches this by accident."""


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TookTooLong

    before = [signal.signal(one, stop) for one in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, CPU if sys.gettrace() is None else TRACED)
    signal.setitimer(signal.ITIMER_REAL, WALL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for one, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(one, handler)


def refused(call: Callable[[], Any]) -> str:
    """Return the message of the error that a call ends in: one of the package's own, short, without control characters."""
    with _limited(), pytest.raises(SecurityNetError) as caught:
        call()
    text = str(caught.value)
    assert 0 < len(text) < 500
    assert not [letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    return text
