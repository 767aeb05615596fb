"""Archives: one member comes out, whatever else they try."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from securitynet.download import Files, fetch
from securitynet.entry import Entry
from securitynet.errors import DownloadError

BODY = os.urandom(50_000)
SHA1 = hashlib.sha1(BODY).hexdigest()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, body in members.items():
            archive.writestr(name.rstrip("!"), body)
    return path


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return path


def extract(path: Path, member: str = "weights.pth", digest: str | None = SHA1) -> bytes:
    """Fetch the member of a local archive, its hash checked."""
    columns = {"weights_hash": digest, "hash_algorithm": "sha1", "hash_of": "member"}
    entry = Entry.from_record({"id": "source/name", "archive_member": member, **columns})
    weights = fetch(entry, Files(path.parent / "cache", local=path))
    assert weights.path.resolve().is_relative_to(path.parent / "cache")
    assert weights.sha256 == hashlib.sha256(weights.path.read_bytes()).hexdigest()
    return weights.path.read_bytes()


def failure(path: Path, member: str = "weights.pth", digest: str | None = None) -> str:
    with pytest.raises(DownloadError) as caught:
        extract(path, member, digest)
    assert "\n" not in str(caught.value)
    assert list(path.parent.rglob(f"*{member.rpartition('/')[2]}")) == []
    return str(caught.value)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_one_member_comes_out(tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]) -> None:
    path = pack(tmp_path / "archive", {"other": b"other", "weights.pth": BODY, "../escaped": b"evil"})
    assert extract(path) == BODY
    assert not (tmp_path.parent / "escaped").exists()
    assert "no member absent; it holds other, weights.pth" in failure(path, "absent")


def test_a_wrong_member_is_deleted(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"weights.pth": b"something else"})
    assert "wrong hash" in failure(path, digest=SHA1)


@pytest.mark.parametrize("name", ["../weights.pth", "/weights.pth", "a/../../weights.pth", "..\\weights.pth", "C:\\weights.pth"])
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "a.zip", {"weights.pth": BODY, name: BODY})
    assert "leads out of the archive" in failure(path, name)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_bombs_are_refused(tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]) -> None:
    path = pack(tmp_path / "bomb", {"weights.pth": bytes(40_000_000)})
    assert path.stat().st_size < 100_000
    assert "unpacks to more than" in failure(path)


def test_a_bomb_before_the_member(tmp_path: Path) -> None:
    assert "unpacks to more than" in failure(tarred(tmp_path / "bomb", {"zeros": bytes(40_000_000), "weights.pth": BODY}))


def test_a_size_that_lies(tmp_path: Path) -> None:
    """The directory of a zip may claim less than there is: what comes out counts."""
    path = zipped(tmp_path / "a.zip", {"weights.pth": bytes(40_000_000)})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = data.index(signature) + offset
        data[place : place + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    failure(path)


def test_links_and_doubles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("weights.pth")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    assert "no plain file" in failure(path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zip_archive:
        link = zipfile.ZipInfo("weights.pth")
        link.external_attr = 0o120777 << 16
        zip_archive.writestr(link, "/etc/passwd")
    assert "no plain file" in failure(tmp_path / "a.zip")
    assert "2 members named" in failure(zipped(tmp_path / "b.zip", {"weights.pth": BODY, "weights.pth!": b"x"}))


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_truncated_archive(tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]) -> None:
    path = pack(tmp_path / "a", {"weights.pth": BODY})
    data = bytearray(path.read_bytes())
    data[20_000:20_100] = bytes(100)
    path.write_bytes(bytes(data))
    assert "cannot be read" in failure(path)
