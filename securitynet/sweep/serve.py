"""The child's side: answer messages until the owner is gone."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from securitynet.errors import SecurityNetError
from securitynet.sweep.child import SOCKET
from securitynet.sweep.faults import kind_of, path_of

Message = dict[str, Any]


class Owner:
    """The process that asks. This one ends with it, whatever it is doing: nobody would read the answer."""

    def __init__(self) -> None:
        link = socket.socket(socket.AF_UNIX)
        link.connect(os.environ[SOCKET])
        self._connection = Connection(link.detach())
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._number: int | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                self._messages.put(json.loads(self._connection.recv_bytes()))
            except (EOFError, OSError):
                os._exit(1)

    def next(self) -> Message:
        """Return the next message, when it is there."""
        message = self._messages.get()
        self._number = message.get("number")
        return message

    def answer(self, reply: Message) -> None:
        """Send the reply to the last message."""
        self._connection.send_bytes(json.dumps({**reply, "number": self._number}).encode())


def stand_by() -> None:
    """Let the signal of a cluster that announces the end of a job pass: it goes to all processes, and the driver acts on it."""
    signal.signal(signal.SIGUSR2, lambda *_: None)


def answered(handle: Callable[[Message], Message], message: Message) -> Message:
    """Return handle(message), or {"error": the reason}; what is printed meanwhile goes to the file that the message names as `log`.

    `unexpected` says that it is no error of this package, `fault` and `path` what of the machine it may be about (see faults).
    """
    try:
        with _into(message.get("log")):
            return _handled(handle, message)
    except OSError as error:  # the log cannot be written
        return _failed(error, f"{type(error).__name__}: {error}", unexpected=True)


def _handled(handle: Callable[[Message], Message], message: Message) -> Message:
    try:
        return handle(message)
    except SecurityNetError as error:
        return _failed(error, str(error), unexpected=False)
    except BaseException as error:  # noqa: BLE001 - loaders and attacks may be anybody's code: a failure, or sys.exit(), costs its entry
        return _failed(error, f"{type(error).__name__}: {error}", unexpected=True)


def _failed(error: BaseException, reason: str, unexpected: bool) -> Message:
    traceback.print_exception(error)
    return {"error": " ".join(reason.split())[:500], "unexpected": unexpected, "fault": kind_of(error), "path": path_of(error)}


@contextlib.contextmanager
def _into(path: str | None) -> Iterator[None]:
    """Send standard output and error, of C code too, to the end of a file."""
    if path is None:
        yield
        return
    kept = os.dup(1), os.dup(2)
    with open(path, "ab") as log:
        _redirect(log.fileno(), log.fileno())
    faulthandler.enable()  # a crash in C code leaves the lines of Python that led there
    faulthandler.register(signal.SIGUSR1)  # the owner asks where this process is before it ends it for being late
    try:
        yield
    finally:
        _redirect(*kept)
        for number in kept:
            os.close(number)


def _redirect(output: int, error: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # an attack closed it, or put something else there
            stream.flush()
    os.dup2(output, 1)
    os.dup2(error, 2)
