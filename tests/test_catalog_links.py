"""check --links against a server on this machine: what answers, what does not, bounded rate, going on after a stop."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.maintenance.links import check_links


class Handler(BaseHTTPRequestHandler):
    """Paths name the answer: /200, /404, /nohead (GET only), /moved."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        self.asked.append(f"{method} {self.path}")
        name = self.path.strip("/")
        status = {"nohead": 405 if method == "HEAD" else 206, "moved": 302, "page": 200}.get(name) or int(name)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.send_header("Content-Type", "text/html; charset=utf-8" if name == "page" else "application/octet-stream")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()


def models(server: str, *names: str) -> list[Entry]:
    return [Entry(id=f"x/{number}", source="x", name=str(number), weights_url=f"{server}/{name}") for number, name in enumerate(names)]


def test_answers(server: str, tmp_path: Path) -> None:
    entries = [*models(server, "200", "404", "nohead", "moved", "200"), Entry(id="x/none")]
    entries.append(Entry(id="x/dead", weights_url="http://127.0.0.1:9/x"))
    answers = check_links(entries, tmp_path / "links.jsonl", rate=1000)
    assert [(answer.ok, answer.answer) for answer in answers[:4]] == [(True, "200"), (False, "404"), (True, "206"), (True, "200")]
    assert answers[0].entries == ("x/0", "x/4") and len(answers) == 5
    assert not answers[4].ok and answers[4].answer.startswith("unreachable: ")
    assert "GET /200" not in Handler.asked  # nothing is downloaded where HEAD is known
    lines = [json.loads(line) for line in (tmp_path / "links.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 5 and all(line["date"][:2] == "20" for line in lines)


def test_a_page_is_no_file(server: str, tmp_path: Path) -> None:
    file, page = check_links(models(server, "200", "page"), tmp_path / "links.jsonl", rate=1000)
    assert file.ok and not page.ok and page.answer == "200, but an HTML page, not a file of weights"


def test_a_stopped_check_goes_on(server: str, tmp_path: Path) -> None:
    record = tmp_path / "links.jsonl"
    first = check_links(models(server, "200", "404"), record, rate=1000)
    record.write_text(record.read_text(encoding="utf-8") + '{"url": "cut o', encoding="utf-8")
    Handler.asked.clear()
    again = check_links(models(server, "200", "404", "moved"), record, rate=1000)
    assert again[:2] == first and Handler.asked == ["HEAD /moved", "HEAD /200"]


def test_the_rate_is_bounded(server: str, tmp_path: Path) -> None:
    start = time.monotonic()
    check_links(models(server, "200", "404", "201"), tmp_path / "links.jsonl", rate=10)
    assert time.monotonic() - start >= 0.2
    with pytest.raises(UsageError, match="--rate must be positive"):
        check_links([], tmp_path / "links.jsonl", rate=0)
