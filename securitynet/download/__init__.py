"""The only way weights arrive: pinned, hashed, resumable, atomic."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from securitynet.cache import digest, replacing
from securitynet.download import archive
from securitynet.download.hashes import Pin, digests_of
from securitynet.download.http import PATIENCE, Request, discard, transfer
from securitynet.download.hub import WEIGHTS, Repo
from securitynet.download.hubcache import COMMIT
from securitynet.errors import DownloadError

if TYPE_CHECKING:
    from securitynet.entry import Entry

log = logging.getLogger(__name__)
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".th", ".ckpt", ".tar")


@dataclass(frozen=True)
class Files:
    """Where files come from: `local` is a file or folder given by the user, which is used in place of any download.

    `python`: the Python of an environment of the user's with the library of the model, in which the network is built then.
    `hold`: seconds that a server which says when to come back is waited for; beyond that the error is http.Later.
    """

    cache: Path
    offline: bool = False
    progress: bool = True
    local: Path | None = None
    python: Path | None = None
    hold: float = PATIENCE

    def folder(self, url: str) -> Path:
        """Return the folder of the cache for what an address gives."""
        return self.cache / "weights" / digest(url)[:16]


@dataclass(frozen=True)
class Weights:
    """A weights file on this machine: `sha256` is that of this very file, of the extracted member where it came in an archive."""

    path: Path
    sha256: str


def fetch(entry: Entry, files: Files) -> Weights:
    """Return the entry's weights: the user's own file, else the Hub's, else those at the entry's address; checked each time.

    What was downloaded stays in the cache. Raises DownloadError where the file cannot be had or is not the promised one.
    """
    if files.local is not None:
        return _local(entry, files, files.local)
    if entry.hub_id:
        return _from_hub(entry, files)
    if entry.weights_url:
        return _from_address(entry, files, entry.weights_url)
    raise DownloadError(f"{entry.id}: the entry records no address of its weights; pass the path of a file that you have")


def at_hand(entry: Entry, files: Files) -> bool:
    """Say whether the entry's weights are in the cache already, without asking anybody."""
    if entry.hub_id:
        from huggingface_hub import try_to_load_from_cache

        names = (entry.weights_file,) if entry.weights_file else WEIGHTS
        return any(isinstance(try_to_load_from_cache(entry.hub_id, name, revision=entry.revision), str) for name in names)
    url = entry.weights_url or ""
    folder = files.folder(url)
    return (_member_path(entry.archive_member, folder) if entry.archive_member else folder / _file_name(url)).exists()


def find_weights(folder: Path, name: str | None = None) -> Path:
    """Return the weights file in `folder`: `name`, else the usual names, else the only file with a usual suffix.

    Raises DownloadError where there is none or the choice is not clear.
    """
    for usual in (name, *WEIGHTS):
        if usual and (folder / usual).is_file():
            return folder / usual
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if len(found) == 1:
        return found[0]
    listed = ", ".join(path.name for path in found[:5])
    cause = f"{len(found)} weights files ({listed})" if found else "no weights file"
    raise DownloadError(f"{folder}: holds {cause}; pass the path of the file itself")


def _local(entry: Entry, files: Files, path: Path) -> Weights:
    """The user's file is checked against the entry's hash, and never deleted."""
    path = find_weights(path, entry.weights_file) if path.is_dir() else path
    if not path.is_file():
        raise DownloadError(f"{path}: no such file")
    packed = entry.archive_member is not None and archive.is_archive(path)
    pin = _pin(entry, "member" if entry.archive_member and not packed else "file")
    digests = digests_of(path, *([pin.algorithm] if pin else []))
    if pin and not pin.fits(digests):
        raise DownloadError(
            f"{path}: not the file that the entry {entry.id} records ({_differs(pin, digests)}); correct the one or the other"
        )
    if entry.archive_member and packed:
        return _member(entry, entry.archive_member, path, files.cache / "weights" / digests["sha256"][:16])
    return Weights(path, digests["sha256"])


def _from_hub(entry: Entry, files: Files) -> Weights:
    repo = repo_of(entry, files)
    path = repo.file(entry.weights_file) if entry.weights_file else repo.weights()
    if entry.members_file:
        repo.file(entry.members_file)  # lies beside the weights then
    pin = Pin.of(entry)
    if pin is None and not COMMIT.fullmatch(entry.revision or ""):
        log.info("%s: neither a commit nor a hash is recorded for these weights; their sha256 is noted now", entry.id)
    name = (entry.weights_file or path.name).replace("/", "_")  # files of the same name lie in several folders of a repo
    note = files.cache / "weights" / digest("hub", entry.hub_id, entry.revision)[:16] / f"{name}.json"
    return Weights(path, _checked(entry, path, pin, f"{entry.hub_id}/{path.name}", note))


def repo_of(entry: Entry, files: Files) -> Repo:
    """Return the entry's repo on the Hub."""
    return Repo(entry.hub_id or "", entry.revision, entry.id, files.offline, files.progress)


def _from_address(entry: Entry, files: Files, url: str) -> Weights:
    from huggingface_hub.utils import WeakFileLock

    folder = files.folder(url)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _file_name(url)
    with WeakFileLock(folder / "lock"):  # processes of one group ask at the same time
        if entry.archive_member:
            archive.check_member(entry.id, entry.archive_member)
            if _member_path(entry.archive_member, folder).exists():
                return _member(entry, entry.archive_member, path, folder)
        if not path.exists():
            _download(entry, files, url, path)
        if entry.archive_member:
            return _member(entry, entry.archive_member, path, folder)
        return Weights(path, _checked(entry, path, _pin(entry, "file"), url, _note(path)))


def _pin(entry: Entry, of: str) -> Pin | None:
    """Return the entry's pin where it is about the file, or about the member of an archive, as `of` says."""
    hashed = (entry.hash_of or "file") if entry.archive_member else "file"
    return Pin.of(entry) if hashed == of else None


def _file_name(url: str) -> str:
    """Return the name of the file at an address, made safe."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".")[-100:] or "weights"


def _download(entry: Entry, files: Files, url: str, path: Path) -> None:
    if files.offline:
        raise DownloadError(
            f"{entry.id}: its weights are not in the cache ({path.parent}) and no network is to be used; run once without --offline"
        )
    pin = Pin.of(entry)
    if pin is None:
        log.info("%s: no hash is recorded for these weights; their sha256 is noted now, and a later difference will be an error", entry.id)
    elif not pin.full:
        log.info("%s: only a prefix of the %s is recorded, which is no pin; the sha256 is noted now", entry.id, pin.algorithm)
    size = None if entry.archive_member else entry.weights_size
    part = path.with_name(path.name + ".part")
    transfer(Request(entry.id, url, pin is not None and pin.full, size, files.progress, files.hold), part)
    if size and (found := part.stat().st_size) != size:
        discard(part)
        raise DownloadError(f"{entry.id}: {url} gave {found:,} bytes, the entry says {size:,}; the file was deleted")
    _checked(entry, part, _pin(entry, "file"), url, _note(path))
    part.replace(path)
    discard(part)


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _checked(entry: Entry, path: Path, pin: Pin | None, source: str, note: Path) -> str:
    """Return the sha256 of a file that fits the pin and is the same as at its first download, which `note` keeps.

    Deletes the file and raises DownloadError where it is another one.
    """
    digests = digests_of(path, *([pin.algorithm] if pin else []))
    found, first = digests["sha256"], _noted(note)
    if pin and not pin.fits(digests):
        _delete(path)
        raise DownloadError(
            f"{entry.id}: wrong hash of the file from {source} ({_differs(pin, digests)}); it was deleted, run again to fetch it anew"
        )
    if first and first != found:
        _delete(path)
        raise DownloadError(
            f"{entry.id}: the file from {source} is not what it was at its first download (sha256 {found[:16]}..., then {first[:16]}...); "
            f"it was deleted; if the publisher replaced it and you trust that, delete {note} and run again"
        )
    if not first:
        with replacing(note) as part:
            part.write_text(json.dumps({"source": source, "sha256": found, "size": path.stat().st_size}) + "\n", encoding="utf-8")
    return found


def _differs(pin: Pin, digests: dict[str, str]) -> str:
    return f"{pin.algorithm} {digests[pin.algorithm][:16]}..., expected {pin.digest[:16]}{'...' if len(pin.digest) > 16 else ''}"


def _delete(path: Path) -> None:
    """The Hub's cache keeps the content elsewhere, behind a link."""
    for one in (path.resolve(), path):
        one.unlink(missing_ok=True)
    discard(path)


def _noted(note: Path) -> str | None:
    """Return the sha256 of a note; one that cannot be read counts as none."""
    try:
        record: Any = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record.get("sha256") if isinstance(record, dict) else None


def _member_path(member: str, folder: Path) -> Path:
    return folder / f"{digest(member)[:8]}-{_file_name(member)}"


def _member(entry: Entry, member: str, path: Path, folder: Path) -> Weights:
    target = _member_path(member, folder)
    if not target.exists():
        archive.extract(entry.id, path, member, target)
    return Weights(target, _checked(entry, target, _pin(entry, "member"), f"{path.name}, member {member}", _note(target)))
