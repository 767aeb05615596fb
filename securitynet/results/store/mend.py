"""A store with damage made whole: what is damaged is set aside, what stands is written anew where it has to be."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

from securitynet.cache import replacing
from securitynet.results.store.contents import Contents
from securitynet.results.store.journal import DONE, FORGOTTEN, JOURNAL, SEALED, Batch
from securitynet.results.store.lines import append, signed
from securitynet.results.store.segments import LIMIT, files_of, path_of, seal_of

SUFFIX = ".damaged"


def mend(contents: Contents) -> None:
    """Set aside what is damaged, and write what stands so that it can be appended to.

    It may be cut off anywhere: new segments come first, then the journal changes at once, then the old files go.
    """
    _set_aside(contents)
    for segment in contents.segments.values():
        if segment.trim is not None:
            os.truncate(path_of(contents.folder, segment.number), segment.trim)
    journal = _Journal(contents)
    for line in contents.journal.lines:
        journal.carry(line)
    journal.end()
    for path in contents.stale:
        path.unlink(missing_ok=True)


def _set_aside(contents: Contents) -> None:
    for one in contents.damage:
        if one.raw:
            place = contents.folder / f"{one.file}{SUFFIX}"
            raw = one.raw if one.raw.endswith(b"\n") else one.raw + b"\n"
            if not place.exists() or raw not in place.read_bytes():  # a mending that was cut off may have done it
                append(place, raw, False)


class _Journal:
    """A journal that is written anew, and the segments for what has to move."""

    def __init__(self, contents: Contents) -> None:
        self.folder, self.contents = contents.folder, contents
        self._gone = {number for number, one in contents.segments.items() if one.broken}
        self._stay = set(contents.segments) - self._gone
        self._next = max([*contents.segments, *files_of(contents.folder)], default=-1) + 1
        self._rows, self._parts = 0, list[bytes]()
        self._lines, self._places = list[dict[str, Any]](), dict[int, int]()

    def carry(self, line: Mapping[str, Any]) -> None:
        """Take over a line that still stands."""
        if line["event"] == DONE:
            batch = Batch(line)
            if batch.n in self.contents.moved:  # what is damaged, or of the old form
                self._add(self._moved(batch, self.contents.moved[batch.n]))
            elif batch.segment in self._stay:
                self._add(line)
        elif line["event"] == FORGOTTEN:
            of = [self._places[n] for n in line["of"] if n in self._places]
            if of:
                self._add({**line, "of": of})
        elif line["event"] != SEALED:
            self._add(line)

    def _add(self, line: Mapping[str, Any]) -> None:
        self._places[line["n"]] = len(self._lines)
        self._lines.append({**line, "n": len(self._lines)})

    def _moved(self, batch: Batch, data: bytes) -> dict[str, Any]:
        if self._rows and self._rows + batch.count > LIMIT:
            self._flush()
        line = batch.at(self._next, sum(map(len, self._parts)))
        self._parts.append(data)
        self._rows += batch.count
        return line

    def _flush(self) -> None:
        path = path_of(self.folder, self._next)
        with replacing(path) as part:
            part.write_bytes(b"".join(self._parts))
        self._stay.add(self._next)
        self._next, self._rows, self._parts = self._next + 1, 0, []

    def end(self) -> None:
        """Write the last segment, the seals, and the journal."""
        if self._rows:
            self._flush()
        rows = Counter[int]()
        for batch in (Batch(line) for line in self._lines if line["event"] == DONE):
            rows[batch.segment] += batch.count
        for number in sorted(self._stay)[:-1]:
            seal = seal_of(path_of(self.folder, number), number, rows[number])
            self._add({"event": SEALED, **seal, "n": -1})
        with replacing(self.folder / JOURNAL) as part:
            part.write_bytes(b"".join(map(signed, self._lines)))
            for file in (part, *(path_of(self.folder, number) for number in self._stay)):
                _sync(file)


def _sync(path: os.PathLike[str]) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
