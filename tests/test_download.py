"""Downloads against a server of this machine: pinned, resumed, checked, never half-written."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from web import Web, serve

from securitynet.download import Files, fetch, http
from securitynet.entry import Entry
from securitynet.errors import DownloadError, SecurityNetError

BODY = os.urandom(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with serve() as web:
        yield web


@pytest.fixture
def web(server: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """The server, empty; no waiting between tries."""
    server.pages.clear()
    server.requests.clear()
    monkeypatch.setattr(http, "PAUSE", 0.0)
    return server


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "cache", progress=False)


def entry_of(url: str, **columns: Any) -> Entry:
    return Entry.from_record({"id": "source/name", "source": "source", "name": "name", "weights_url": url, **columns})


def pinned(url: str, **columns: Any) -> Entry:
    return entry_of(url, hash_algorithm="sha256", weights_hash=SHA256, **columns)


def left_over(files: Files) -> list[str]:
    """Names of the files in the cache, without the lock."""
    return sorted(path.name for path in files.cache.rglob("*") if path.is_file() and path.name != "lock")


def failure(entry: Entry, files: Files, kind: type[SecurityNetError] = DownloadError) -> str:
    with pytest.raises(kind) as caught:
        fetch(entry, files)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_file_is_fetched_once(web: Web, files: Files) -> None:
    entry = pinned(web.put("/a.pth", BODY))
    for _ in range(2):
        weights = fetch(entry, files)
        assert weights.path.read_bytes() == BODY and weights.sha256 == SHA256
    assert len(web.requests) == 1
    assert left_over(files) == ["a.pth", "a.pth.json"]
    assert json.loads(weights.path.with_name("a.pth.json").read_text())["sha256"] == SHA256


@pytest.mark.parametrize(
    ("algorithm", "digest"),  # published digests of the six bytes "hello\n"; the last is what `git hash-object` prints
    [
        ("sha256", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
        ("sha1", "f572d396fae9206628714fb2ce00f72e94f2258f"),
        ("md5", "b1946ac92492d2347c6235b4d2611184"),
        ("git-blob-sha1", "ce013625030ba8dba906f756967f9e9ca394464a"),
    ],
)
def test_hash_algorithms(web: Web, files: Files, algorithm: str, digest: str) -> None:
    url = web.put("/hello", b"hello\n")
    assert fetch(entry_of(url, hash_algorithm=algorithm, weights_hash=digest), files).path.read_bytes() == b"hello\n"
    other = "0" * len(digest)
    text = failure(entry_of(web.put("/other", b"hello\n"), hash_algorithm=algorithm, weights_hash=other), files)
    assert digest[:16] in text and "deleted" in text


def test_a_wrong_hash_deletes_the_file(web: Web, files: Files) -> None:
    url = web.put("/a.pth", b"something else")
    text = failure(pinned(url), files)
    assert "source/name" in text and "wrong hash" in text and "it was deleted" in text
    assert left_over(files) == []
    web.put("/a.pth", BODY)
    assert fetch(pinned(url), files).sha256 == SHA256


def test_a_prefix_is_checked_and_called_no_pin(web: Web, files: Files, caplog: pytest.LogCaptureFixture) -> None:
    url = web.put("/a.pth", BODY)
    with caplog.at_level("INFO", logger="securitynet"):
        fetch(entry_of(url, hash_algorithm="sha256", weights_hash=SHA256[:8]), files)
    assert "no pin" in caplog.text
    assert "wrong hash" in failure(entry_of(web.put("/b.pth", BODY), weights_hash="00000000"), files)


def test_a_broken_line_is_taken_up_again(web: Web, files: Files) -> None:
    url = web.put("/a.pth", BODY, cut=100_000)
    assert fetch(pinned(url), files).path.read_bytes() == BODY
    assert [headers.get("Range") for _, headers in web.requests] == [None, "bytes=100000-"]


def test_what_arrived_stays_for_the_next_run(web: Web, files: Files) -> None:
    url = web.put("/a.pth", BODY, cut=100_000, cuts=99, headers={"ETag": '"one"'})
    text = failure(entry_of(url), files)
    assert "broke off after 100,000 bytes" in text and "run again" in text
    assert "a.pth" not in left_over(files) and "a.pth.part" in left_over(files)
    web.pages["/a.pth"].cuts = 0
    assert fetch(entry_of(url), files).sha256 == SHA256
    assert web.requests[-1][1]["Range"] == "bytes=100000-" and web.requests[-1][1]["If-Range"] == '"one"'
    assert left_over(files) == ["a.pth", "a.pth.json"]


def test_halves_of_two_files_are_never_joined(web: Web, files: Files) -> None:
    url = web.put("/a.pth", BODY, cut=100_000, cuts=99, headers={"ETag": '"one"'})
    failure(entry_of(url), files)
    web.put("/a.pth", BODY[::-1], headers={"ETag": '"two"'})
    assert fetch(entry_of(url), files).path.read_bytes() == BODY[::-1]


def test_without_hash_and_validator_it_starts_anew(web: Web, files: Files) -> None:
    fetch(entry_of(web.put("/a.pth", BODY, cut=100_000)), files)
    assert [headers.get("Range") for _, headers in web.requests] == [None, None]


def test_a_server_without_ranges(web: Web, files: Files) -> None:
    assert fetch(pinned(web.put("/a.pth", BODY, cut=100_000, ranges=False)), files).path.read_bytes() == BODY


def test_a_range_behind_the_end(web: Web, files: Files) -> None:
    """The server answers 416: either all had arrived before a run was killed, or the file became shorter."""
    entry = pinned(web.put("/a.pth", BODY + b"more", cut=300_000, cuts=99))
    failure(entry, files)
    web.put("/a.pth", b"", status=416)
    assert "changed" in failure(entry, files) or "416" in failure(entry, files)
    web.put("/a.pth", BODY + b"more", cut=300_000, cuts=99)
    failure(entry, files)
    web.put("/a.pth", b"", status=416, headers={"Content-Range": "bytes */300000"})
    assert fetch(entry, files).sha256 == SHA256


def test_redirects(web: Web, files: Files) -> None:
    web.put("/a.pth", BODY)
    url = web.put("/moved", b"", status=302, headers={"Location": "/a.pth"})
    assert fetch(entry_of(url), files).sha256 == SHA256
    for place in ("ftp://127.0.0.1/a", "file:///etc/passwd"):
        assert "redirect" in failure(entry_of(web.put(f"/{place[:3]}", b"", status=302, headers={"Location": place})), files)
    assert "cannot be reached" in failure(entry_of(web.put("/loop", b"", status=302, headers={"Location": "/loop"})), files)


def test_plain_http_needs_a_full_hash(web: Web, files: Files) -> None:
    """On this machine http is allowed, for tests and mirrors; a redirect does not lead from there to the open network."""
    assert "not https" in failure(entry_of("http://weights.example/a.pth"), files)
    assert "not https" in failure(entry_of("http://weights.example/a.pth", weights_hash="0" * 8), files)
    away = {"Location": "http://weights.example/a.pth"}
    assert "redirect to http://weights.example" in failure(entry_of(web.put("/away", b"", status=302, headers=away)), files)
    assert not http.Request("x", "https://weights.example").allows("http://127.0.0.1/a")
    assert http.Request("x", "https://weights.example", pinned=True).allows("http://other.example/a")
    assert not http.Request("x", "ftp://weights.example", pinned=True).allows("ftp://weights.example")


@pytest.mark.parametrize(("status", "words"), [(404, "is gone"), (410, "is gone"), (403, "asks for a login"), (418, "refuses")])
def test_answers_that_are_no_file(web: Web, files: Files, status: int, words: str) -> None:
    text = failure(entry_of(web.put("/a.pth", b"", status=status)), files)
    assert words in text and str(status) in text
    assert len(web.requests) == 1


def test_a_busy_server_is_asked_again(web: Web, files: Files) -> None:
    assert "503" in failure(entry_of(web.put("/a.pth", b"", status=503)), files)
    assert len(web.requests) == http.TRIES


@pytest.mark.parametrize("options", [{"headers": {"Content-Type": "text/html; charset=utf-8"}}, {}])
def test_a_web_page_is_recognised(web: Web, files: Files, options: dict[str, Any]) -> None:
    text = failure(pinned(web.put("/a.pth", b"\n<!DOCTYPE html><html>Too many downloads</html>", **options)), files)
    assert "web page" in text and "browser" in text
    assert "a.pth" not in left_over(files)


def test_an_address_that_nobody_answers(files: Files) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        text = failure(entry_of(f"http://127.0.0.1:{free.getsockname()[1]}/a.pth"), files)
    assert "cannot be reached" in text and "check the network" in text


def test_sizes(web: Web, files: Files) -> None:
    url = web.put("/a.pth", BODY)
    assert "the entry says 7" in failure(entry_of(url, weights_size=7), files)
    web.put("/a.pth", BODY, length=False)
    assert "sends more than the 7 bytes" in failure(entry_of(url, weights_size=7), files)
    assert "gave 300,000 bytes, the entry says 300,001" in failure(entry_of(url, weights_size=300_001), files)
    assert fetch(entry_of(url, weights_size=300_000), files).sha256 == SHA256


def test_offline(web: Web, files: Files) -> None:
    url = web.put("/a.pth", BODY)
    offline = Files(files.cache, offline=True)
    assert "not in the cache" in failure(entry_of(url), offline)
    fetch(entry_of(url), files)
    assert fetch(entry_of(url), offline).sha256 == SHA256
    assert len(web.requests) == 1


def test_a_later_difference_is_an_error(web: Web, files: Files) -> None:
    entry = entry_of(web.put("/a.pth", BODY))
    weights = fetch(entry, files)
    weights.path.unlink()
    web.put("/a.pth", b"another file")
    text = failure(entry, files)
    assert "not what it was at its first download" in text and SHA256[:16] in text
    assert left_over(files) == ["a.pth.json"]
    weights.path.with_name("a.pth.json").unlink()
    assert fetch(entry, files).path.read_bytes() == b"another file"


def test_damage_in_the_cache_is_found(web: Web, files: Files) -> None:
    entry = pinned(web.put("/a.pth", BODY))
    path = fetch(entry, files).path
    path.write_bytes(BODY[:-1] + b"x")
    assert "deleted" in failure(entry, files)
    assert fetch(entry, files).sha256 == SHA256


def test_two_at_a_time_fetch_once(web: Web, files: Files) -> None:
    entry = pinned(web.put("/a.pth", BODY))
    with ThreadPoolExecutor(4) as pool:
        found = [weights.sha256 for weights in pool.map(lambda _: fetch(entry, files), range(4))]
    assert found == [SHA256] * 4 and len(web.requests) == 1


def test_names_from_addresses_are_harmless(web: Web, files: Files) -> None:
    for path in ("/..%2F..%2Fevil.pth", "/.hidden", "/a?x=/../y", "/"):
        entry = entry_of(web.put(path, BODY))
        assert fetch(entry, files).path.resolve().is_relative_to(files.cache.resolve())
