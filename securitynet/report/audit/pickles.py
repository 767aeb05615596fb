"""What a pickle imports, without loading it: picklescan's lists, within bounds on what it may read."""

from __future__ import annotations

import io
import logging
import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from securitynet.errors import shown
from securitynet.loaders._weights import DAMAGE, HARMLESS, OF_TENSORS

DANGEROUS, UNLISTED, USUAL = "can run commands", "on no list", "usual"
MOST_STEPS, MOST_BYTES, MOST_MEMBERS, LONGEST = 2_000_000, 256_000_000, 100_000, 120
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # PyTorch's format before zip: pickles, then raw storages
OF_LEGACY = 5
PICKLES = (".pkl", ".pickle", ".joblib", ".p")


@dataclass(frozen=True)
class Import:
    """A name that a pickle imports, and what that is: DANGEROUS, UNLISTED or USUAL."""

    name: str
    kind: str


@dataclass(frozen=True)
class Scan:
    """What a file's pickles import, the dangerous first; `trouble`: why not all of it could be read."""

    imports: tuple[Import, ...] = ()
    trouble: str | None = None


class _TooMuch(Exception):
    """More than a checkpoint has."""


def scan(path: Path) -> Scan:
    """Return what the pickles of a file import: plain pickles, PyTorch's formats, or a zip archive with pickles inside.

    A file may be both at once: readers differ in what they look for first, so both are looked at.
    """
    try:
        with path.open("rb") as file:
            start = file.read(14)
        found = [] if start.startswith(b"PK") else [_plain(path, start.endswith(MAGIC))]
        if zipfile.is_zipfile(path):
            found += [_stream(io.BytesIO(content)) for content in _members(path)]
        elif start.startswith(b"PK"):
            found.append(Scan(trouble="begins as a zip archive and is none"))
    except _TooMuch as error:
        return Scan(trouble=str(error))
    except (NotImplementedError, *DAMAGE) as error:
        return Scan(trouble=f"cannot be read ({shown(str(error), LONGEST) or type(error).__name__})")
    order = (DANGEROUS, UNLISTED, USUAL)
    imports = sorted({one for part in found for one in part.imports}, key=lambda one: (order.index(one.kind), one.name))
    return Scan(tuple(imports), next((one.trouble for one in found if one.trouble), None))


def _plain(path: Path, legacy: bool) -> Scan:
    if not legacy and path.stat().st_size > MOST_BYTES:
        raise _TooMuch(f"a pickle of {path.stat().st_size:,} bytes was not read")
    with path.open("rb") as file:
        return _stream(file, legacy)


def _members(path: Path) -> Iterator[bytes]:
    """The pickles of an archive: by their name, or by how they begin and go on."""
    with zipfile.ZipFile(path) as archive:
        listed = archive.infolist()
        if len(listed) > MOST_MEMBERS:
            raise _TooMuch(f"an archive of {len(listed):,} members was not read")
        for one in listed:
            named = one.filename.lower().endswith(PICKLES)
            if not named:
                with archive.open(one) as member:
                    start = member.read(2)
                if len(start) < 2 or start[0] != 0x80 or start[1] > 5:
                    continue
            if one.file_size > MOST_BYTES:
                if named:
                    raise _TooMuch(f"a pickle of {one.file_size:,} bytes was not read")
                continue
            content = archive.read(one)
            if named or _is_pickle(io.BytesIO(content)):
                yield content


def _is_pickle(stream: IO[bytes]) -> bool:
    """Whether a stream begins with a whole pickle. Raises _TooMuch."""
    try:
        return bool(_steps(stream, 0))
    except DAMAGE:
        return False


def _steps(stream: IO[bytes], before: int) -> int:
    """The number of steps up to the end of one pickle. Raises _TooMuch, or as pickletools where it is none."""
    count = before
    for _ in pickletools.genops(stream):
        count += 1
        if count > MOST_STEPS:
            raise _TooMuch(f"a pickle of more than {MOST_STEPS:,} steps was not read")
    return count


def _stream(stream: IO[bytes], legacy: bool = False) -> Scan:
    """What picklescan finds in a stream of pickles. It keeps all steps in memory, so they are counted before.

    Its own choice of a format is not used: it takes a pickle with an archive behind it for the archive.
    """
    from picklescan.scanner import scan_pickle_bytes, scan_pytorch

    count, whole, most = 0, 0, OF_LEGACY if legacy else MOST_STEPS
    try:
        while whole < most and stream.read(1):
            stream.seek(-1, 1)
            count, whole = _steps(stream, count), whole + 1
    except DAMAGE:
        pass  # picklescan reads what there is up to the damage
    stream.seek(0)
    with _silent():
        found = scan_pytorch(stream, "file") if legacy else scan_pickle_bytes(stream, "file")
    imports = {Import(shown(f"{one.module}.{one.name}", LONGEST), _kind(one.module, one.name, one.safety.value)) for one in found.globals}
    trouble = "a damaged pickle, read up to the damage" if found.scan_err or not whole else None
    return Scan(tuple(imports), trouble)


def _kind(module: str, name: str, safety: str) -> str:
    if safety == "dangerous":
        return DANGEROUS
    whole = f"{module}.{name}"
    return USUAL if safety == "innocuous" or OF_TENSORS.fullmatch(whole) or whole in HARMLESS else UNLISTED


@contextmanager
def _silent() -> Iterator[None]:
    """The scanner's own log would print foreign names as they are; the report says them escaped."""
    log = logging.getLogger("picklescan")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
