"""One member of an archive: never more than that one, never more bytes than it may have, never a path of its own choosing."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from securitynet.cache import replacing
from securitynet.errors import DownloadError

MOST_BYTES = 32 << 30
MOST_RATIO, FREE_BYTES = 100, 1 << 20  # weights hardly compress: what grows a hundredfold is no weights file
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
    if not zipfile.is_zipfile(path):
        return tarfile.is_tarfile(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith("/data.pkl") for name in archive.namelist())
    except BROKEN:
        return False  # whoever reads it says what is wrong


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
        with tarfile.open(path) as tar, _in_tar(label, path, member, tar, limit) as source:
            yield source
            while tar.fileobj and limit > 0 and (rest := tar.fileobj.read(CHUNK)):  # the checksum of a packed tar stands at its end
                limit -= len(rest)


def _in_tar(label: str, path: Path, member: str, tar: tarfile.TarFile, limit: int) -> IO[bytes]:
    """Walk to the member; what lies before it counts, because a packed tar is unpacked on the way."""
    passed, names = 0, []
    while (info := tar.next()) is not None:
        passed += info.size
        if passed > limit:
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
