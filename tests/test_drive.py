"""Google Drive's page before a large file: answered once, and never taken for the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from web import Web, serve

from securitynet.download import Files, fetch, http
from securitynet.download.drive import confirmed
from securitynet.entry import Entry
from securitynet.errors import DownloadError, LoadError
from securitynet.loaders._weights import read

PAGE = (Path(__file__).parent / "data" / "drive_confirmation.html").read_bytes()
QUOTA = b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>Too many users</body></html>"
ADDRESS = "https://drive.google.com/uc?id=FILE-ID"
HTML = {"Content-Type": "text/html; charset=utf-8"}
BEHIND = "?id=FILE-ID&export=download&confirm=t&uuid=0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(http, "PAUSE", 0.0)
    with serve() as server:
        yield server


def entry_of(url: str) -> Entry:
    return Entry.from_record({"id": "robustbench/a", "source": "robustbench", "name": "a", "weights_url": url})


def test_the_button_of_the_page() -> None:
    assert confirmed(PAGE, ADDRESS) == f"https://drive.usercontent.google.com/download{BEHIND}"
    assert confirmed(PAGE, "https://drive.google.com/uc?id=another") is None
    assert confirmed(QUOTA, ADDRESS) is None
    assert confirmed(PAGE.replace(b"drive.usercontent.google.com", b"drive.example.com"), ADDRESS) is None
    assert confirmed(PAGE.replace(b"https://drive.usercontent", b"http://drive.usercontent"), ADDRESS) is None
    former = b'<html><a id="uc-download-link" href="/uc?export=download&amp;confirm=aB3_&amp;id=FILE-ID">Download anyway</a></html>'
    assert confirmed(former, ADDRESS) == "https://drive.google.com/uc?export=download&confirm=aB3_&id=FILE-ID"


def test_the_page_is_answered(web: Web, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "w.pt")
    body = (tmp_path / "w.pt").read_bytes()
    page = PAGE.replace(b"https://drive.usercontent.google.com", web.address.encode())
    url = web.put("/uc?id=FILE-ID", page, headers=HTML)
    web.put("/download" + BEHIND, body)
    weights = fetch(entry_of(url), Files(tmp_path / "cache", progress=False))
    assert weights.path.read_bytes() == body and torch.equal(read(weights.path)["w"], torch.ones(3))
    assert [path for path, _ in web.requests] == ["/uc?id=FILE-ID", "/download" + BEHIND]


def test_a_download_behind_the_page_goes_on_where_it_broke_off(web: Web, tmp_path: Path) -> None:
    url = web.put("/uc?id=FILE-ID", PAGE.replace(b"https://drive.usercontent.google.com", web.address.encode()), headers=HTML)
    web.put("/download" + BEHIND, bytes(range(256)) * 40, headers={"ETag": '"1"'}, cut=5000)
    weights = fetch(entry_of(url), Files(tmp_path / "cache", progress=False))
    assert weights.path.read_bytes() == bytes(range(256)) * 40
    assert web.requests[-1][1]["Range"] == "bytes=5000-"


@pytest.mark.parametrize(("page", "cause"), [(QUOTA, "quota of downloads is used up"), (PAGE, "a login, a quota or a question")])
def test_a_page_is_no_file(web: Web, tmp_path: Path, page: bytes, cause: str) -> None:
    """A page without a button, and a second page behind the button."""
    page = page.replace(b"https://drive.usercontent.google.com", web.address.encode())
    url = web.put("/uc?id=FILE-ID", page, headers=HTML)
    web.put("/download" + BEHIND, page, headers=HTML)
    with pytest.raises(DownloadError, match=cause):
        fetch(entry_of(url), Files(tmp_path / "cache", progress=False))
    assert len(web.requests) <= 2 and not list((tmp_path / "cache").rglob("uc*"))
    (tmp_path / "page.pt").write_bytes(page)
    with pytest.raises(LoadError, match="a web page"):
        read(tmp_path / "page.pt")
