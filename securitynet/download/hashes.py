"""Digests of files, and what an entry promises about them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.errors import UsageError

if TYPE_CHECKING:
    from securitynet.entry import Entry

LENGTHS = {"sha256": 64, "sha1": 40, "md5": 32, "git-blob-sha1": 40}
CHUNK = 1 << 20


@dataclass(frozen=True)
class Pin:
    """The digest that a file must have: whole, or its first digits (which pin nothing: another file can be made to share them)."""

    algorithm: str
    digest: str

    @property
    def full(self) -> bool:
        """Whether the whole digest is known."""
        return len(self.digest) == LENGTHS[self.algorithm]

    @classmethod
    def of(cls, entry: Entry) -> Pin | None:
        """Return the pin that the entry records, None where it records none. Raises UsageError where it makes no sense."""
        if not entry.weights_hash:
            return None
        text = entry.weights_hash.lower()
        algorithm = entry.hash_algorithm or "sha256"
        if algorithm not in LENGTHS:
            raise UsageError(f"{entry.id}: hash_algorithm {algorithm!r} is not one of {', '.join(LENGTHS)}")
        if not re.fullmatch(r"[0-9a-f]{6,64}", text) or len(text) > LENGTHS[algorithm]:
            raise UsageError(
                f"{entry.id}: weights_hash {entry.weights_hash!r} is neither a {algorithm} ({LENGTHS[algorithm]} hex digits) nor its start"
            )
        return cls(algorithm, text)

    def fits(self, digests: dict[str, str]) -> bool:
        """Whether the digests of a file (see digests_of) agree with this pin."""
        return digests[self.algorithm].startswith(self.digest)


def digests_of(path: Path, *algorithms: str) -> dict[str, str]:
    """Return the hex digests of a file by algorithm, sha256 always among them; the file is read once."""
    hashers = {name: hashlib.new(name.removeprefix("git-blob-"), usedforsecurity=False) for name in {"sha256", *algorithms}}
    if "git-blob-sha1" in hashers:
        hashers["git-blob-sha1"].update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            for hasher in hashers.values():
                hasher.update(chunk)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}
