"""Xet without a content server: clients write to a folder of this machine, and files are found there by sha256.

A shard is a 48-byte header, then per file an entry of 48 bytes (hash, flags, number of segments n), n segments of 48
bytes (twice with bit 31 of the flags) and, with bit 30, 48 bytes that begin with the sha256. Hashes are four
little-endian numbers of 64 bits.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hub.store import Hub

ENTRY = 48
END = b"\xff" * 32


def store(hub: Hub) -> Path:
    """Return the folder that clients write to."""
    return hub.root / "cas"


def fetch(hub: Hub, sha256: str, size: int) -> bool:
    """Make content that arrived through Xet a blob; False where no shard knows it."""
    for shard in (store(hub) / "xet/xorbs/shards").glob("*.mdb"):
        for file_hash, found in _files(shard.read_bytes()):
            if found == sha256:
                _copy_out(hub, file_hash, sha256, size)
                return True
    return False


def _files(shard: bytes) -> Iterator[tuple[str, str | None]]:
    """Yield the Xet hash and the sha256 of every file in a shard."""
    offset = ENTRY
    while True:
        file_hash, flags, segments, _ = struct.unpack_from("<32sIIQ", shard, offset)
        if file_hash == END:
            return
        offset += ENTRY + ENTRY * segments * (2 if flags >> 31 & 1 else 1)
        sha256 = None
        if flags >> 30 & 1:
            sha256 = _hex(shard[offset : offset + 32])
            offset += ENTRY
        yield _hex(file_hash), sha256


def _hex(data: bytes) -> str:
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", data))


def _copy_out(hub: Hub, file_hash: str, sha256: str, size: int) -> None:
    """Read with the client's own library, from a copy: the uploading client may hold the lock of the index."""
    import hf_xet  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory(dir=hub.root) as place:
        shutil.copytree(store(hub) / "xet/xorbs", f"{place}/xet/xorbs", copy_function=_link)
        with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{place}") as group:
            group.start_download_file(hf_xet.XetFileInfo(file_hash, size), f"{place}/out")
        os.replace(f"{place}/out", hub.blob(sha256))


def _link(source: str, destination: str) -> None:
    if source.endswith(".redb"):
        shutil.copy2(source, destination)
    else:
        os.link(source, destination)
