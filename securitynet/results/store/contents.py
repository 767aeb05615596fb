"""What a store holds, found out without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securitynet.results.row import Row
from securitynet.results.store import before
from securitynet.results.store.journal import JOURNAL, Batch, Journal, read_journal
from securitynet.results.store.lines import Damage, row_of
from securitynet.results.store.segments import ROWS, Segment, files_of, inspect, path_of


@dataclass
class Contents:
    """The lines of the journal, the batches whose rows are all there by job, and the damage.

    `moved` are the bytes of batches that have to be written anew, since their file is damaged or of the old form.
    """

    folder: Path
    journal: Journal
    by_job: dict[str, list[Batch]] = field(default_factory=dict)
    moved: Mapping[int, bytes] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    old: bool = False

    @property
    def batches(self) -> list[Batch]:
        """All that is settled, in the order in which it was written."""
        return sorted((batch for batches in self.by_job.values() for batch in batches), key=lambda batch: batch.n)

    def count(self, batch: Batch) -> None:
        """Let a batch count; what failed before it and was done again does not."""
        known = self.by_job.setdefault(batch.job, [])
        if any(one.line.get("status") == "failed" for one in known):
            known.clear()
        known.append(batch)

    @property
    def stale(self) -> list[Path]:
        """Files that do not count any more once what they hold was written anew."""
        broken = [path_of(self.folder, one.number) for one in self.segments.values() if one.broken]
        return [*broken, self.folder / before.ROWS] if self.old else broken

    def records(self, batch: Batch) -> list[bytes]:
        """Return the rows of a batch, a line each. Raises ValueError where they are not what the journal says."""
        data = self.moved.get(batch.n)
        if data is None and batch.size:
            with path_of(self.folder, batch.segment).open("rb") as file:
                file.seek(batch.offset)
                data = file.read(batch.size)
        if not batch.fits(data or b""):
            raise ValueError(f"{ROWS}/{batch.segment:05d}.jsonl: the rows of {batch.job} are not those that were written")
        return (data or b"").splitlines(keepends=True)

    def rows(self, batch: Batch) -> list[Row]:
        """Return the rows of a batch. Raises ValueError as records() does."""
        return [row_of(raw) for raw in self.records(batch)]


class Lazy(Mapping[int, bytes]):
    """Bytes by number, each read when it is wanted."""

    def __init__(self, readers: Sequence[Callable[[], bytes]]) -> None:
        self._readers = readers

    def __getitem__(self, number: int) -> bytes:
        if not 0 <= number < len(self._readers):
            raise KeyError(number)
        return self._readers[number]()

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and 0 <= number < len(self._readers)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._readers)))

    def __len__(self) -> int:
        return len(self._readers)


def is_store(folder: Path) -> bool:
    """Say whether a store, of the present form, is in a directory."""
    return (folder / JOURNAL).is_file() and (folder / ROWS).is_dir()


def rows_of(contents: Contents) -> list[Row]:
    """Return all rows that count, each once. Raises ValueError where a sealed segment is not what was written."""
    rows = (row for batch in contents.batches for row in contents.rows(batch))
    return list({row.row_id: row for row in rows}.values())


def read(folder: Path, thorough: bool = False, running: bool = False) -> Contents:
    """Return what the store in `folder` holds. Sealed segments are read only when `thorough`, or where their seal does not fit.

    `running`: a process writes there now, so that rows at the end which are not settled yet are no damage.
    """
    path = folder / JOURNAL
    data = path.read_bytes() if path.exists() else b""
    if before.is_old(folder, data):
        journal, moved, damage = before.read(folder, data)
        old = Contents(folder, journal, {}, moved, {}, damage, old=True)
        for batch in journal.batches:
            old.count(batch)
        return old
    contents = Contents(folder, read_journal(data))
    contents.damage += [one for one in contents.journal.damage if not (running and one.unsettled)]
    _read_segments(contents, thorough, running)
    return contents


def _read_segments(contents: Contents, thorough: bool, running: bool) -> None:
    journal, batches, places = contents.journal, contents.journal.batches, dict[int, list[Batch]]()
    moved: dict[int, bytes] = {}
    for batch in batches:
        places.setdefault(batch.segment, []).append(batch)
    last, seals = max(places, default=-1), journal.seals
    for number in sorted(places.keys() | files_of(contents.folder).keys()):
        segment = inspect(contents.folder, number, places.get(number, []), seals.get(number), thorough)
        if running and number >= last and number not in seals:
            segment.damage = [one for one in segment.damage if not one.unsettled]
        contents.segments[number] = segment
        contents.damage += segment.damage
        moved |= segment.moved
        if segment.broken:
            moved |= _standing(contents, segment, places.get(number, []))
    gone = journal.forgotten
    whole = {n for segment in contents.segments.values() for n in (*segment.standing, *segment.moved)} - gone
    for batch in batches:
        if batch.n in whole:
            contents.count(batch)
    contents.moved = {n: data for n, data in moved.items() if n in whole}


def _standing(contents: Contents, segment: Segment, batches: list[Batch]) -> Mapping[int, bytes]:
    """The bytes of the sound batches of a segment that has to be written anew."""
    path = path_of(contents.folder, segment.number)
    data = path.read_bytes() if path.exists() else b""
    return {batch.n: data[batch.offset : batch.offset + batch.size] for batch in batches if batch.n in segment.standing}
