"""A web server of this machine with bad habits, for tests of downloads."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Page:
    """What an address answers. `cut` closes the line after so many bytes, for the first `cuts` answers.

    `refusals`: headers of the first answers, which are 429.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    cuts: int = 1
    ranges: bool = True
    length: bool = True
    refusals: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Web:
    """Pages by path, and the requests that came: method, path, headers."""

    address: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def put(self, path: str, body: bytes, **options: Any) -> str:
        """Serve `body` under `path`; return its address."""
        self.pages[path] = Page(body, **options)
        return self.address + path


@contextmanager
def serve(port: int = 0) -> Iterator[Web]:
    """Run the server on a free port of 127.0.0.1, or on that one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            web.requests.append((self.path, dict(self.headers.items())))
            page = web.pages.get(self.path, Page(b"not here", 404))
            if page.refusals:
                page = Page(status=429, headers=page.refusals.pop(0))
            start = _start(page, self.headers) if page.status == 200 else 0
            self.send_response(206 if start else page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            if page.length:
                self.send_header("Content-Length", str(len(page.body) - start))
            else:
                self.close_connection = True
            self.end_headers()
            end = len(page.body)
            if page.cut is not None and page.cuts:
                page.cuts -= 1
                end, self.close_connection = page.cut, True
            self.wfile.write(page.body[start:end])

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    web = Web(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


def _start(page: Page, headers: Any) -> int:
    """Where an answer begins: a range counts where the file is still the one that the client knows."""
    asked = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
    same = headers.get("If-Range") in (None, page.headers.get("ETag"))
    return int(asked[1]) if asked and page.ranges and same else 0
