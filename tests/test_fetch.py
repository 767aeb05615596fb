"""Where weights come from without a network: the user's own files, checked and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from securitynet.download import Files, fetch
from securitynet.entry import Entry
from securitynet.errors import DownloadError, SecurityNetError, UsageError


def entry_of(**columns: Any) -> Entry:
    record = {"id": "source/name", "source": "source", "name": "name", "weights_url": "https://weights.example/a.pth"}
    return Entry.from_record(record | columns)


def failure(entry: Entry, files: Files, kind: type[SecurityNetError] = DownloadError) -> str:
    with pytest.raises(kind) as caught:
        fetch(entry, files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "columns",
    [{"weights_hash": "xyz"}, {"weights_hash": "0" * 64, "hash_algorithm": "sha1"}, {"weights_hash": "0" * 64, "hash_algorithm": "crc"}],
)
def test_a_hash_that_makes_no_sense(tmp_path: Path, columns: dict[str, str]) -> None:
    (tmp_path / "a.pth").write_bytes(b"a")
    assert "source/name" in failure(entry_of(**columns), Files(tmp_path, local=tmp_path / "a.pth"), UsageError)


def test_no_address(tmp_path: Path) -> None:
    assert "no address" in failure(entry_of(weights_url=None), Files(tmp_path))


def test_a_users_file_is_checked_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"mine")
    local = Files(tmp_path / "cache", local=file)
    assert fetch(entry_of(), local).path == file
    text = failure(entry_of(weights_hash="0" * 64), local)
    assert str(file) in text and "not the file that the entry source/name records" in text
    assert file.read_bytes() == b"mine"
    assert "no such file" in failure(entry_of(), Files(tmp_path, local=tmp_path / "absent"))


def test_a_users_folder(tmp_path: Path) -> None:
    files = Files(tmp_path / "cache", local=tmp_path)
    assert "no weights file" in failure(entry_of(), files)
    for name in ("b.pth", "c.pth"):
        (tmp_path / name).write_bytes(b"")
    assert fetch(entry_of(weights_file="c.pth"), files).path == tmp_path / "c.pth"
    assert "2 weights files (b.pth, c.pth)" in failure(entry_of(), files)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert fetch(entry_of(), files).path.name == "model.safetensors"
