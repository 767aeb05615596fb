"""Images in tar archives: indexed once, read in place; nothing is unpacked. WebDataset shards among them."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securitynet.cache import digest
from securitynet.data.encoded import DAMAGE
from securitynet.data.fingerprint import of_files
from securitynet.data.folder import ENDINGS
from securitynet.data.listing import Found, Listing, by_parts
from securitynet.data.request import ImageRequest, split_of
from securitynet.errors import DataError
from securitynet.foreign import json_object, regular

LABELS = ("cls", "txt", "json")
KEYS = ("label", "cls", "class", "class_id", "target", "label_name", "class_name")
MOST_LABEL, MOST_MEMBERS = 1 << 20, 50_000_000
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_SHARDS = 100_000


@dataclass(frozen=True)
class Member:
    """A file in a tar archive: where its bytes lie."""

    archive: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Return its bytes. Raises DataError where the archive has become shorter."""
        with self.archive.open("rb") as file:
            data = os.pread(file.fileno(), self.size, self.offset)
        if len(data) != self.size:
            raise DataError(f"{self.archive}: cut short at {self.name}; fetch it again")
        return data


class TarImages:
    """Images in archives by position."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> tuple[str, bytes]:
        member = self.members[index]
        return f"{member.archive}: {member.name}", member.read()


def members(path: Path) -> Iterator[Member]:
    """Yield the regular files of an archive in order; only its headers are read. Raises DataError, also for a compressed one."""
    regular(path, DataError)
    try:
        with tarfile.open(path, "r:") as archive:
            for count, info in enumerate(archive):
                if count > MOST_MEMBERS:
                    raise ValueError("more members than an archive of images has")
                if info.isreg() and not info.issparse():
                    yield Member(path, info.name, info.offset_data, info.size)
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all otherwise
            end = Member(path, "its end", archive.offset, tarfile.BLOCKSIZE).read()
            if end.strip(b"\0"):  # tarfile stops at a broken header as at the end
                raise ValueError("a broken header")
    except (tarfile.TarError, *DAMAGE) as error:
        packed = path.name.endswith((".gz", ".tgz", ".xz", ".bz2"))
        remedy = "decompress it first (gunzip): images are read in place" if packed else "fetch it again"
        raise DataError(f"{path}: not a readable tar archive ({' '.join(str(error).split())[:120]}); {remedy}") from error


def shards_of(text: str) -> list[Path]:
    """Return the files that a pattern with braces ({000..003}, {a,b}) or a glob names, in order. Raises DataError where there is none."""
    paths = [path for one in _braces(text) for path in _globbed(one)]
    lacking = [str(path) for path in paths if not path.is_file()]
    if not paths or lacking:
        raise DataError(f"{text}: no such file{f' ({len(lacking)} of {len(paths)}: {lacking[0]})' if lacking else ''}")
    return paths


def is_pattern(text: str) -> bool:
    """Say whether a path is a pattern of shards."""
    return any(sign in text for sign in "{*?[") and text.split("/")[-1].rpartition(".")[2].rstrip("}") == "tar"


def _braces(text: str) -> list[str]:
    found = BRACES.search(text)
    if found is None:
        return [text]
    numbers = RANGE.fullmatch(found[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if abs(last - first) > MOST_SHARDS:
            raise DataError(f"{text}: more than {MOST_SHARDS:,} shards")
        options = [f"{number:0{len(numbers[1])}d}" for number in range(first, last + 1)]
    else:
        options = found[1].split(",")
    return [one for option in options for one in _braces(text[: found.start()] + option + text[found.end() :])]


def _globbed(text: str) -> list[Path]:
    path = Path(text).expanduser()
    if not any(sign in text for sign in "*?["):
        return [path]
    base = Path(path.anchor) if path.is_absolute() else Path()
    return sorted(base.glob(str(path.relative_to(path.anchor) if path.is_absolute() else path)))


def read_shards(paths: Sequence[Path], request: ImageRequest, what: str) -> Found:
    """Return the parts of WebDataset shards: an image and a label (cls, txt, json) for each key; the split is in the shards' names.

    Shards without a split are test images beside none that have one. Raises DataError.
    """
    by_split: dict[str, list[Path]] = {}
    for path in paths:
        by_split.setdefault(split_of(path.name) or split_of(str(path.parent.name)) or "", []).append(path)
    if set(by_split) == {""}:
        by_split = {"test": by_split[""]}
    by_split.pop("", None) if len(by_split) > 1 else None
    named = request.classes is not None and request.classes.class_names is not None
    return by_parts({split: _shards(some, _class_names(some[0]) if named else []) for split, some in by_split.items()}, request, what)


def _class_names(shard: Path) -> list[str]:
    """The names of classes, one a line, that authors put into classnames.txt beside shards whose labels are numbers."""
    places = [folder / "classnames.txt" for folder in (shard.parent, shard.parent.parent)]
    path = next((one for one in places if one.is_file() and one.stat().st_size < MOST_LABEL), None)
    return path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n") if path else []


def _shards(paths: Sequence[Path], names: Sequence[str]) -> Listing:
    images: list[Member] = []
    labels: list[str | int] = []
    for path in paths:
        for key, parts in _samples(path):
            picture = next((parts[ending] for ending in parts if f".{ending.rpartition('.')[2]}" in ENDINGS), None)
            if picture is not None:
                images.append(picture)
                labels.append(_label(parts, f"{path}: {key}"))
    if not images:
        raise DataError(f"{paths[0]}: no images with a label beside them; expected are KEY.jpg and KEY.cls (or .txt, .json)")
    texts = [label for label in labels if isinstance(label, str)]
    if texts and len(texts) < len(labels):
        raise DataError(f"{paths[0]}: some labels are numbers and others text; write all the same way")
    if names and not texts:
        texts = [names[label] if isinstance(label, int) and 0 <= label < len(names) else "" for label in labels]
    content = digest([(one.archive.name, one.name, one.offset) for one in images], of_files(paths))
    return Listing(TarImages(images), texts or np.array(labels, np.int64), content)


def _samples(path: Path) -> Iterator[tuple[str, Mapping[str, Member]]]:
    """The files of one key each, in the order of the archive: they follow one another."""
    key, parts = "", dict[str, Member]()
    for member in members(path):
        folder, _, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        if (own := f"{folder}/{stem}") != key and parts:
            yield key, parts
            parts = {}
        key = own
        if ending.lower() in parts:
            raise DataError(f"{path}: {member.name[:80]} stands twice; each key needs files of its own")
        parts[ending.lower()] = member
    if parts:
        yield key, parts


def _label(parts: Mapping[str, Member], what: str) -> str | int:
    kinds = [kind for kind in LABELS if kind in parts]
    if not kinds:
        raise DataError(f"{what}: has no label; expected is one of .cls, .txt, .json beside the image")
    member = parts[kinds[0]]
    if member.size > MOST_LABEL:
        raise DataError(f"{what}: its label has {member.size:,} bytes; one class is right")
    text = member.read().decode("utf-8", "replace").strip()
    value: Any = text
    if kinds[0] == "json":
        held = json_object(text, what, DataError)
        value = next((held[key] for key in KEYS if key in held), None)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{what}: its label is {json.dumps(value)[:40]}; a number or the name of a class is right ({', '.join(KEYS[:3])})")
    return int(value) if isinstance(value, str) and value.isdecimal() else value
