"""The journal of a store: which lines stand, which are damaged, missing, doubled or out of order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from securitynet.results.row import Row
from securitynet.results.store.lines import MARK, Damage, dumped, mark, verified

JOURNAL = "journal.jsonl"
DONE, FORGOTTEN, SEALED = "done", "forgotten", "sealed"


@dataclass(frozen=True)
class Batch:
    """Rows that were written together: what their line `done` says (see pack() for its column `rows`)."""

    line: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Number of the line."""
        return int(self.line["n"])

    @property
    def job(self) -> str:
        """Name of the job, for people; the key of an attack's results in the store of an evaluation."""
        return str(self.line["job"])

    @property
    def segment(self) -> int:
        """Number of the segment that holds the rows."""
        return int(self.line["rows"]["segment"])

    @property
    def offset(self) -> int:
        """Bytes before the rows in their segment."""
        return int(self.line["rows"]["offset"])

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return int(self.line["rows"]["size"])

    @property
    def count(self) -> int:
        """How many rows there are."""
        return int(self.line["rows"]["count"])

    @property
    def marks(self) -> list[str]:
        """Short digest of each row's line."""
        text = self.line["rows"]["marks"]
        return [text[start : start + MARK] for start in range(0, len(text), MARK)]

    def fits(self, data: bytes) -> bool:
        """Say whether these bytes are the rows."""
        return bool(hashlib.sha256(data).hexdigest() == self.line["rows"]["sha256"])

    def at(self, segment: int, offset: int) -> dict[str, Any]:
        """Return the line of the same rows at another place."""
        return {**self.line, "rows": {**self.line["rows"], "segment": segment, "offset": offset}}


def pack(rows: Sequence[Row]) -> tuple[bytes, dict[str, Any]]:
    """Return rows as bytes, and what the journal keeps of them: number, digest, size and short digests."""
    lines = [dumped(row.to_record()) for row in rows]
    return packed(lines)


def packed(lines: Sequence[bytes]) -> tuple[bytes, dict[str, Any]]:
    """Return what pack() does, of lines as they stand in a file."""
    data = b"".join(lines)
    facts = {"count": len(lines), "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "marks": "".join(map(mark, lines))}
    return data, facts


@dataclass
class Journal:
    """Lines that stand, in the order in which they were written, and the damage among them."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)

    @property
    def batches(self) -> list[Batch]:
        """All that was ever settled."""
        return [Batch(line) for line in self.lines if line["event"] == DONE]

    @property
    def forgotten(self) -> set[int]:
        """Numbers of lines that do not count any more."""
        return {n for line in self.lines if line["event"] == FORGOTTEN for n in line["of"]}

    @property
    def seals(self) -> dict[int, dict[str, Any]]:
        """The last seal of each segment that has one."""
        return {line["segment"]: line for line in self.lines if line["event"] == SEALED}

    @property
    def next(self) -> int:
        """Number of the line that will be written next."""
        return self.lines[-1]["n"] + 1 if self.lines else 0


def read_journal(data: bytes, name: str = JOURNAL) -> Journal:
    """Return the journal that a file holds."""
    journal, places = Journal(), dict[bytes, int]()
    highest = -1
    for number, raw in split(data):
        try:
            if not raw.endswith(b"\n"):
                raise ValueError("cut off, as by a kill")
            line = verified(raw[:-1])
        except ValueError as error:
            journal.damage.append(Damage(name, number, str(error), raw, unsettled=not raw.endswith(b"\n")))
            continue
        if (before := places.setdefault(raw, number)) != number:
            journal.damage.append(Damage(name, number, f"the same as line {before}; it counts once", raw))
            continue
        if line["n"] < highest:
            journal.damage.append(Damage(name, number, "out of order; it counts"))
        highest = max(highest, line["n"])
        journal.lines.append(line)
    journal.lines.sort(key=lambda line: line["n"])
    journal.damage += _gaps(journal.lines, name)
    return journal


def _gaps(lines: Sequence[Mapping[str, Any]], name: str) -> Iterator[Damage]:
    """Lines have numbers without a gap; a missing one was removed, or is among the damaged."""
    expected = 0
    for line in lines:
        if line["n"] > expected:
            which = f"line {expected + 1}" if line["n"] == expected + 1 else f"lines {expected + 1} to {line['n']}"
            yield Damage(name, None, f"{which} of those that were written do not stand there")
        expected = line["n"] + 1


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number from 1 and bytes of each line, the line feed included where there is one."""
    start, number = 0, 1
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield number, data[start:end]
        start, number = end, number + 1
