"""The store itself: opened, mended, appended to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.results.row import Row
from securitynet.results.store.contents import Contents, Lazy, read
from securitynet.results.store.journal import DONE, FORGOTTEN, JOURNAL, SEALED, Batch, Journal, pack
from securitynet.results.store.lines import Damage, append, signed
from securitynet.results.store.mend import mend
from securitynet.results.store.segments import LIMIT, Segment, path_of, seal_of

if TYPE_CHECKING:
    from filelock import FileLock

LOCK = "journal.lock"


class Store:
    """Rows of jobs in one directory; several processes may write there, one at a time.

    Whatever was cut off or damaged is set aside when the store is opened, or when another process has written; `noticed` is
    called with each. With `sync`, what add() wrote is on the disk when it returns.
    """

    def __init__(self, folder: Path, noticed: Callable[[Damage], None], sync: bool = True) -> None:
        self.folder, self._noticed, self._sync = folder, noticed, sync
        self._contents: Contents | None = None
        self._seen: tuple[int, int] | None = None

    @cached_property
    def _lock(self) -> FileLock:
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / LOCK)

    @contextlib.contextmanager
    def locked(self, thorough: bool = False) -> Iterator[Contents]:
        """Hold the lock of the directory, and give what stands there now; `thorough`: every digest is read."""
        with self._lock:
            if self._contents is None or thorough or self._stamp() != self._seen:
                self._contents = self._opened(thorough)
            yield self._contents

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = (self.folder / JOURNAL).stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_size

    def _opened(self, thorough: bool) -> Contents:
        contents = read(self.folder, thorough)
        for one in contents.damage:
            self._noticed(one)
        if contents.damage or contents.old or _unsealed(contents):
            mend(contents)
            contents = read(self.folder)
        self._seen = self._stamp()
        return contents

    def batches(self) -> list[Batch]:
        """Return what is settled."""
        with self.locked() as contents:
            return contents.batches

    def rows(self, batch: Batch) -> list[Row]:
        """Return the rows of a batch. Raises ValueError where they are not those that were written."""
        with self.locked() as contents:
            return contents.rows(batch)

    def add(self, rows: Sequence[Row], job: str, **facts: Any) -> None:
        """Append the rows of a job, then the line that settles it, with `facts`; nothing of either stands where that fails."""
        data, packed = pack(rows)
        with self.locked() as contents:
            segment = self._place(contents, len(rows))
            path = path_of(self.folder, segment.number)
            append(path, data, self._sync)
            line = {"event": DONE, **facts, "job": job, "rows": {**packed, "segment": segment.number, "offset": segment.size}}
            try:
                contents.count(Batch(self._written(contents, line, self._sync)))
            except OSError:
                os.truncate(path, segment.size)
                raise
            segment.size += len(data)
            segment.rows += len(rows)

    def note(self, event: str, **facts: Any) -> None:
        """Add a line to the journal that no row depends on."""
        with self.locked() as contents:
            self._written(contents, {"event": event, **facts}, False)

    def forget(self, batches: Iterable[Batch]) -> None:
        """Let batches count no more."""
        gone = {batch.n for batch in batches}
        if gone:
            with self.locked() as contents:
                self._written(contents, {"event": FORGOTTEN, "of": sorted(gone)}, self._sync)
                for batches in contents.by_job.values():
                    batches[:] = [batch for batch in batches if batch.n not in gone]

    def replace(self, batches: Iterable[tuple[Mapping[str, Any], Callable[[], bytes]]]) -> None:
        """Let these lines `done`, each with what reads its rows, take the place of all that stands here.

        Rows are read when they are written, a segment at a time; they may stand in this very directory.
        """
        with self.locked() as contents:
            new, readers = Contents(self.folder, Journal()), list[Callable[[], bytes]]()
            for number in contents.segments:
                new.segments[number] = Segment(number, replaced=True)
            for n, (line, rows) in enumerate(batches):
                readers.append(rows)
                new.journal.lines.append({**line, "n": n})
                new.count(Batch(new.journal.lines[-1]))
            new.moved = Lazy(readers)
            mend(new)
            self._contents = None

    def _place(self, contents: Contents, count: int) -> Segment:
        """The segment that so many rows go into; one that is full is sealed."""
        number = max(contents.segments, default=-1)
        segment = contents.segments.get(number)
        if segment is None or (segment.rows and segment.rows + count > LIMIT) or segment.seal is not None:
            if segment is not None and segment.seal is None:
                segment.seal = seal_of(path_of(self.folder, number), number, segment.rows)
                self._written(contents, {"event": SEALED, **segment.seal}, self._sync)
            segment = contents.segments[number + 1] = Segment(number + 1)
        return segment

    def _written(self, contents: Contents, record: Mapping[str, Any], sync: bool) -> dict[str, Any]:
        line = {"event": record["event"], "n": contents.journal.next, **record}
        append(self.folder / JOURNAL, signed(line), sync)
        contents.journal.lines.append(line)
        self._seen = self._stamp()
        return line


def _unsealed(contents: Contents) -> bool:
    """Say whether a segment before the last one has no seal that fits: it was copied, or a process ended just then."""
    return any(one.seal is None for number, one in contents.segments.items() if number != max(contents.segments))
