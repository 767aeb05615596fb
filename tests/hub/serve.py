"""serve(): the Hub on a socket of this machine, in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn

from hub.app import make_app
from hub.store import Hub


@contextlib.contextmanager
def serve(hub: Hub, listening: socket.socket) -> Iterator[Hub]:
    """Answer on a bound socket until the block ends."""
    server = uvicorn.Server(uvicorn.Config(make_app(hub), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the local Hub did not start")
        time.sleep(0.02)
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join(timeout=5)
