"""One segment of rows, held against what the journal says of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from securitynet.results.store.journal import Batch, split
from securitynet.results.store.lines import Damage, mark, parsed, row_of

ROWS = "rows"
LIMIT = 10_000  # rows of a segment
UNSETTLED = "no line of the journal settles it; a process that was ended leaves such rows"


def path_of(folder: Path, segment: int) -> Path:
    """Return the file of a segment."""
    return folder / ROWS / f"{segment:05d}.jsonl"


def files_of(folder: Path) -> dict[int, Path]:
    """Return the files of segments by number."""
    found = {path.name: path for path in (folder / ROWS).glob("*.jsonl")}
    return {int(name[:-6]): path for name, path in sorted(found.items()) if re.fullmatch(r"\d{5,}\.jsonl", name)}


@dataclass
class Segment:
    """What a segment holds: batches that stand at their place, those that stand elsewhere in it (their bytes), and the damage.

    `trim` is the size where only the end is too much. `seal` is its seal, None where it has none that fits.
    `replaced`: nothing of it counts.
    """

    number: int
    size: int = 0
    rows: int = 0
    standing: set[int] = field(default_factory=set)
    moved: dict[int, bytes] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    trim: int | None = None
    seal: dict[str, Any] | None = None
    replaced: bool = False

    @property
    def broken(self) -> bool:
        """Say whether its batches have to be written anew."""
        return self.replaced or (bool(self.damage) and self.trim is None)


def seal_of(path: Path, number: int, rows: int) -> dict[str, Any]:
    """Return what the journal keeps of a segment that is full."""
    digest, stat = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat()
    return {"segment": number, "rows": rows, "size": stat.st_size, "time": stat.st_mtime_ns, "sha256": digest}


def inspect(folder: Path, number: int, batches: Sequence[Batch], seal: Mapping[str, Any] | None, thorough: bool) -> Segment:
    """Return what a segment holds; one whose seal fits in number, size and time is not read, unless `thorough`."""
    path, rows = path_of(folder, number), sum(batch.count for batch in batches)
    found = Segment(number, rows=rows)
    if not path.exists():
        found.standing = {batch.n for batch in batches if not batch.size}
        if len(found.standing) < len(batches):
            found.damage.append(Damage(f"{ROWS}/{path.name}", None, f"the file is missing, {rows} rows with it"))
        return found
    stat = path.stat()
    found.size = stat.st_size
    sealed = seal is not None and (seal["rows"], seal["size"]) == (rows, found.size)
    if seal is not None and sealed and seal["time"] == stat.st_mtime_ns:
        found.seal = dict(seal)
        if not thorough:
            found.standing = {batch.n for batch in batches}
            return found
    data = path.read_bytes()
    found.size = len(data)
    _match(found, data, batches)
    return found


def _match(found: Segment, data: bytes, batches: Sequence[Batch]) -> None:
    """Find every batch at its place, else by the digests of its rows; what is left over is damage."""
    end, whole = 0, True
    for batch in sorted(batches, key=lambda batch: (batch.offset, batch.n)):
        whole = whole and batch.offset == end
        end = batch.offset + batch.size
        if batch.fits(data[batch.offset : end]):
            found.standing.add(batch.n)
    if len(found.standing) == len(batches) and whole and len(data) == end:
        return
    found.seal = None
    if len(found.standing) == len(batches) and whole:
        found.trim = end  # nothing but the end is too much
    lines = _Lines(found.number, data)
    for batch in batches:
        if batch.n in found.standing:
            lines.use(batch)
    for batch in batches:
        if batch.n not in found.standing:
            _recover(found, batch, lines)
    found.damage += lines.left()
    if found.moved and not found.damage:
        found.damage.append(Damage(lines.name, None, "its lines are out of order; they count"))


def _recover(found: Segment, batch: Batch, lines: _Lines) -> None:
    rows = lines.take(batch)
    data = b"".join(rows)
    if batch.fits(data):
        found.moved[batch.n] = data
        return
    reason = f"{len(rows)} of the {batch.count} rows of {batch.job} are there and sound; it is not settled any more"
    found.damage.append(Damage(lines.name, None, reason, data))


class _Lines:
    """The lines of a segment, and which of them belong to a batch."""

    def __init__(self, number: int, data: bytes) -> None:
        self.name = f"{ROWS}/{number:05d}.jsonl"
        self._all = dict(split(data))
        self._at: dict[int, int] = {}
        self._by_mark: dict[str, list[int]] = {}
        start = 0
        for place, raw in self._all.items():
            self._at[start] = place
            self._by_mark.setdefault(mark(raw), []).append(place)
            start += len(raw)
        self._used: set[int] = set()

    def use(self, batch: Batch) -> None:
        """Count the lines of a batch that stands at its place."""
        if batch.size:
            first = self._at[batch.offset]
            self._used.update(range(first, first + batch.count))

    def take(self, batch: Batch) -> list[bytes]:
        """Return those rows of a batch that are anywhere in the segment, in the order of the batch."""
        places = [next((place for place in self._by_mark.get(one, ()) if place not in self._used), None) for one in batch.marks]
        found = [place for place in places if place is not None]
        self._used.update(found)
        return [self._all[place] for place in found]

    def left(self) -> list[Damage]:
        """Return why each of the other lines does not count, neighbours of the same reason together."""
        known = dict(self._rows(self._used))
        return joined(self._why(place, known) for place in self._all if place not in self._used)

    def _rows(self, places: Iterable[int]) -> Iterator[tuple[str, int]]:
        for place in places:
            try:
                yield str(parsed(self._all[place])["row_id"]), place
            except (ValueError, KeyError):  # it belongs to a batch that does not stand either
                continue

    def _why(self, place: int, known: Mapping[str, int]) -> Damage:
        raw = self._all[place]
        try:
            row = row_of(raw)
        except ValueError as error:
            cut = not raw.endswith(b"\n")
            return Damage(self.name, place, f"{'cut off, ' * cut}{error}", raw, unsettled=cut)
        if row.row_id not in known:
            return Damage(self.name, place, f"a value was changed, or {UNSETTLED}", raw, unsettled=True)
        other = known[row.row_id]
        if self._all[other].rstrip(b"\n") == raw.rstrip(b"\n"):
            return Damage(self.name, place, f"the same row as line {other}; it counts once", raw)
        return Damage(self.name, place, f"it contradicts line {other}, which has the same key", raw, contradicts=True)


def joined(damage: Iterable[Damage]) -> list[Damage]:
    """Return damage with that of neighbouring lines and the same reason as one."""
    found: list[Damage] = []
    for one in damage:
        before = found[-1] if found else None
        if before and before.line and one.line and (before.last or before.line) + 1 == one.line and before.reason == one.reason:
            found[-1] = replace(before, raw=before.raw + one.raw, last=one.line)
        else:
            found.append(one)
    return found
