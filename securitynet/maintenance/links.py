"""check --links: does every address of the catalog still answer? One host is asked at a bounded rate, and nothing is downloaded."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from securitynet.entry import Entry
from securitynet.errors import UsageError

TIMEOUT = 30  # seconds
PAGES = ("text/html", "application/xhtml+xml")
NO_HEAD = (403, 405, 501)  # answers of servers that do not know HEAD: the first byte is asked for instead


@dataclass(frozen=True)
class LinkStatus:
    """What an address answered (`200`, `404`, `unreachable: ...`) and when; `entries` are the models whose weights lie there."""

    url: str
    ok: bool
    answer: str
    date: str
    entries: tuple[str, ...]


def check_links(entries: Iterable[Entry], record: Path, rate: float = 1.0) -> list[LinkStatus]:
    """Return the answer of every address, in order; those that `record` has already are not asked again.

    Each answer is a line of `record` as soon as it is there, so that a check that was stopped goes on. `rate`: requests per
    second and host. Raises UsageError for a rate that is not positive.
    """
    if not rate > 0:
        raise UsageError(f"--rate must be positive, not {rate}")
    known = {answer.url: answer for answer in _recorded(record)}
    addresses: dict[str, list[str]] = {}
    for entry in entries:
        if entry.weights_url:
            addresses.setdefault(entry.weights_url, []).append(entry.id)
    last: dict[str, float] = {}
    for url, ids in addresses.items():
        if url in known:
            continue
        _wait(last, urlsplit(url).netloc, 1 / rate)
        ok, words = _asked(url)
        known[url] = LinkStatus(url, ok, words, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), tuple(ids))
        with record.open("a+b") as file:
            _end_line(file)
            file.write((json.dumps(asdict(known[url]), ensure_ascii=False) + "\n").encode())
    return [known[url] for url in addresses]


def _end_line(file: BinaryIO) -> None:
    """End a line that was cut off, so that the next one stands alone."""
    if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":
        file.write(b"\n")


def _recorded(record: Path) -> Iterator[LinkStatus]:
    """The answers in the file; a line that was cut off by an end in mid-writing is asked again."""
    if not record.exists():
        return
    for line in record.read_text(encoding="utf-8").splitlines():
        try:
            found = json.loads(line)
            yield LinkStatus(**{**found, "entries": tuple(found["entries"])})
        except (KeyError, TypeError, ValueError):
            continue


def _wait(last: dict[str, float], host: str, pause: float) -> None:
    """Sleep until the host was left alone for `pause` seconds."""
    now = time.monotonic()
    time.sleep(max(0.0, last.get(host, now - pause) + pause - now))
    last[host] = time.monotonic()


class _SameMethod(urllib.request.HTTPRedirectHandler):
    """Redirects of HEAD stay HEAD."""

    def redirect_request(self, req: urllib.request.Request, *rest: Any) -> urllib.request.Request | None:
        new = super().redirect_request(req, *rest)
        if new is not None:
            new.method = req.get_method()
        return new


def _asked(url: str) -> tuple[bool, str]:
    if urlsplit(url).scheme not in ("http", "https"):
        return False, "no address of the web"
    status, words, kind = _request(url, "HEAD")
    if status in NO_HEAD:
        status, words, kind = _request(url, "GET")
    if status is None or not 200 <= status < 300:
        return False, words
    return kind not in PAGES, f"{words}, but an HTML page, not a file of weights" if kind in PAGES else words


def _request(url: str, method: str) -> tuple[int | None, str, str]:
    """The status, if there was one, the answer in words, the type of the content."""
    headers = {"User-Agent": "securitynet", **({"Range": "bytes=0-0"} if method == "GET" else {})}
    opener = urllib.request.build_opener(_SameMethod)
    try:
        with opener.open(urllib.request.Request(url, method=method, headers=headers), timeout=TIMEOUT) as answer:
            return answer.status, str(answer.status), answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        return error.code, str(error.code), ""
    except (OSError, ValueError) as error:
        return None, f"unreachable: {' '.join(str(error).split())[:120]}", ""
