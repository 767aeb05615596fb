"""One member of an archive: never more than that one, never more bytes than it may have, never a path of its own choosing."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from securitynet.cache import replacing
from securitynet.errors import DownloadError
from securitynet.foreign import regular

MOST_BYTES = 32 << 30
MOST_RATIO, FREE_BYTES = 100, 1 << 20  # weights hardly compress: what grows a hundredfold is no weights file
MOST_MEMBERS = 20_000  # before the one that is looked for
CHUNK = 1 << 20
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def is_archive(path: Path) -> bool:
    """Whether the file is a tar or a zip; PyTorch's own checkpoints, which are zips too, do not count."""
    if not zipfile.is_zipfile(regular(path, DownloadError)):
        return _is_tar(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith("/data.pkl") for name in archive.namelist())
    except BROKEN:
        return False  # whoever reads it says what is wrong


def _is_tar(path: Path) -> bool:
    """Whether the file begins as a tar does; no more of it is read."""
    try:
        with _unpacked(path) as file:
            tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except BROKEN:
        return False
    return True


def _unpacked(path: Path) -> Any:
    """The file, opened as what it is packed with."""
    with path.open("rb") as file:
        start = file.read(6)
    opener: Any = (
        gzip.open if start[:2] == b"\x1f\x8b" else bz2.open if start[:3] == b"BZh" else lzma.open if start == b"\xfd7zXZ\0" else open
    )
    return opener(path, "rb")


class _Metered:
    """A file of which no more than `limit` bytes are read: the headers of a tar may have any length."""

    def __init__(self, file: Any, limit: int) -> None:
        self.file, self.left = file, limit

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes. Raises tarfile.ReadError beyond the limit."""
        if size < 0 or size > self.left:
            raise tarfile.ReadError("it unpacks to more bytes than weights have")
        data: bytes = self.file.read(size)
        self.left -= len(data)
        return data

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place."""
        return int(self.file.seek(place, whence))

    def tell(self) -> int:
        """Return the place."""
        return int(self.file.tell())


def extract(label: str, path: Path, member: str, target: Path) -> None:
    """Write `member` of the zip or tar at `path` to `target`, whole or not at all.

    Raises DownloadError where the member is missing, leads out of the archive, is no plain file, or is larger than its
    packed size makes credible; `label` names the entry in the message.
    """
    check_member(label, member)
    limit = min(MOST_BYTES, FREE_BYTES + MOST_RATIO * path.stat().st_size)
    try:
        with replacing(target) as part, _opened(label, path, member, limit) as source, part.open("wb") as file:
            written = 0
            while chunk := source.read(CHUNK):
                written += len(chunk)
                if written > limit:
                    raise _bomb(label, path, member, limit)
                file.write(chunk)
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(f"{label}: the archive {path.name} cannot be read ({reason}); fetch {path} again") from error


def check_member(label: str, member: str) -> None:
    """Raise DownloadError where the name of a member is absolute or climbs out of its archive."""
    parts = PurePosixPath(member.replace("\\", "/")).parts
    if not parts or parts[0].endswith(("/", ":")) or ".." in parts:
        raise DownloadError(f"{label}: archive_member {member!r} leads out of the archive; it is refused")


def _bomb(label: str, path: Path, member: str, limit: int) -> DownloadError:
    return DownloadError(f"{label}: {member} in {path.name} unpacks to more than {limit:,} bytes, which no weights do; it is refused")


@contextmanager
def _opened(label: str, path: Path, member: str, limit: int) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = [info for info in archive.infolist() if info.filename == member]
            _check_found(label, path, member, len(found), archive.namelist())
            if found[0].is_dir() or stat.S_ISLNK(found[0].external_attr >> 16):
                raise DownloadError(f"{label}: {member} in {path.name} is no plain file; it is refused")
            if found[0].file_size > limit:
                raise _bomb(label, path, member, limit)
            with archive.open(found[0]) as source:
                yield source
    else:
        with _unpacked(path) as file:
            metered: Any = _Metered(file, 2 * limit + MOST_MEMBERS * tarfile.BLOCKSIZE)
            with tarfile.open(fileobj=metered, mode="r:") as tar, _in_tar(label, path, member, tar, limit) as source:
                yield source
                while limit > 0 and (rest := file.read(CHUNK)):  # the checksum of a packed tar stands at its end
                    limit -= len(rest)


def _in_tar(label: str, path: Path, member: str, tar: tarfile.TarFile, limit: int) -> IO[bytes]:
    """Walk to the member; what lies before it counts, because a packed tar is unpacked on the way."""
    passed = 0
    names: list[str] = []
    while (info := tar.next()) is not None:
        passed += info.size
        if passed > limit or len(names) > MOST_MEMBERS:
            raise _bomb(label, path, member, limit)
        names.append(info.name)
        if info.name == member:
            source = tar.extractfile(info) if info.isfile() else None
            if source is None:
                raise DownloadError(f"{label}: {member} in {path.name} is no plain file; it is refused")
            return source
    _check_found(label, path, member, 0, names)
    raise AssertionError("unreachable")


def _check_found(label: str, path: Path, member: str, count: int, names: list[str]) -> None:
    if count == 1:
        return
    if count:
        raise DownloadError(f"{label}: {path.name} holds {count} members named {member}; it is refused")
    listed = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    raise DownloadError(f"{label}: {path.name} has no member {member}; it holds {listed or 'nothing'}")
