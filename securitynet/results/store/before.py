"""The old form of a sweep's directory: `rows.jsonl`, and a journal without numbers and checksums.

Such a journal does not count rows. So a job stands where each of its attacks has a row, and no line among its rows is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securitynet.results.row import Row
from securitynet.results.store.journal import DONE, JOURNAL, Journal, packed, split
from securitynet.results.store.lines import BEFORE_SUM, Damage, parsed, row_of

ROWS = "rows.jsonl"
COLUMNS: dict[str, type] = {"entry": str, "seed": int}  # of every line
OF_DONE: dict[str, type] = {"named": str, "status": str, "attacks": list}
Key = tuple[str, int]  # entry as rows name it, seed
Old = tuple[Journal, dict[int, bytes], list[Damage]]


def is_old(folder: Path, journal: bytes) -> bool:
    """Say whether a directory has the old form."""
    return (folder / ROWS).is_file() and BEFORE_SUM not in journal


def read(folder: Path, data: bytes) -> Old:
    """Return the journal in the present form, the bytes of its batches by number of the line, and the damage."""
    damage: list[Damage] = []
    events = _events(data, damage)
    rows = _Rows((folder / ROWS).read_bytes(), {(line["named"], line["seed"]) for line in events if line["event"] == DONE})
    damage += rows.damage
    journal, moved = Journal(), dict[int, bytes]()
    for line in events:
        n = len(journal.lines)
        if line["event"] != DONE:
            journal.lines.append({**line, "n": n})
            continue
        found = rows.take(line)
        if found is None:
            damage.append(Damage(JOURNAL, None, f"{_job(line)} has not all of its rows; it is not settled any more"))
            continue
        moved[n], facts = packed(found)
        journal.lines.append({**line, "n": n, "job": _job(line), "rows": {**facts, "segment": -1, "offset": 0}})
    damage += rows.left()
    return journal, moved, damage


def _job(line: Mapping[str, Any]) -> str:
    return f"{line['entry']} seed {line['seed']}"


def _events(data: bytes, damage: list[Damage]) -> list[dict[str, Any]]:
    """The sound lines of the journal, each once."""
    found: dict[bytes, dict[str, Any]] = {}
    for number, raw in split(data):
        try:
            if not raw.endswith(b"\n"):
                raise ValueError("cut off, as by a kill")
            line = parsed(raw[:-1])
            _check(line)
        except ValueError as error:
            damage.append(Damage(JOURNAL, number, str(error), raw, unsettled=not raw.endswith(b"\n")))
            continue
        if raw in found:
            damage.append(Damage(JOURNAL, number, "it stands there twice; it counts once", raw))
        found[raw] = line
    return list(found.values())


def _check(line: Mapping[str, Any]) -> None:
    """Raise ValueError where a line breaks the schema."""
    if not isinstance(line.get("event"), str):
        raise ValueError("it has no event")
    for name, wanted in (COLUMNS | (OF_DONE if line["event"] == DONE else {})).items():
        if not isinstance(line.get(name), wanted) or isinstance(line[name], bool):
            raise ValueError(f"{name} is not of type {wanted.__name__}" if name in line else f"the column {name} is missing")
    if any(not isinstance(pair, list) or len(pair) != 2 for pair in line.get("attacks", ())):
        raise ValueError("attacks is not a list of names and hyper-parameters")


@dataclass
class _Found:
    """The sound rows of one job: their lines, in order."""

    lines: list[tuple[int, bytes, Row]] = field(default_factory=list)
    doubtful: bool = False


class _Rows:
    """The rows of rows.jsonl by job. A damaged line makes the jobs of its neighbours doubtful, for it may be a row of theirs."""

    def __init__(self, data: bytes, settled: set[Key]) -> None:
        self.damage: list[Damage] = []
        self._jobs: dict[Key, _Found] = {}
        self._settled, self._taken = settled, set[int]()
        last: Key | None = None
        waiting = False
        for number, raw in split(data):
            row = self._row(number, raw)
            if row is None:
                waiting = True
                self._doubt(last)
                continue
            last = (row.entry, row.seed or 0)
            self._add(last, number, raw, row)
            if waiting:
                self._doubt(last)
                waiting = False

    def _row(self, number: int, raw: bytes) -> Row | None:
        try:
            row = row_of(raw[:-1] if raw.endswith(b"\n") else raw)
        except ValueError as error:
            self.damage.append(Damage(ROWS, number, str(error), raw, unsettled=not raw.endswith(b"\n")))
            return None
        return row

    def _doubt(self, job: Key | None) -> None:
        if job is not None:
            self._jobs.setdefault(job, _Found()).doubtful = True

    def _add(self, job: Key, number: int, raw: bytes, row: Row) -> None:
        found = self._jobs.setdefault(job, _Found())
        whole = raw if raw.endswith(b"\n") else raw + b"\n"
        before = next((one for one in found.lines if one[2].row_id == row.row_id), None)
        if before is None:
            found.lines.append((number, whole, row))
        elif before[1] == whole:
            self.damage.append(Damage(ROWS, number, f"the same row as line {before[0]}; it counts once", raw))
        else:
            found.doubtful = True
            self.damage.append(Damage(ROWS, number, f"it contradicts line {before[0]}, which has the same key", raw, contradicts=True))

    def take(self, line: Mapping[str, Any]) -> list[bytes] | None:
        """Return the rows that a line settles, None where some are missing or doubtful; those of no attack go to the first line."""
        found = self._jobs.get((line["named"], line["seed"]))
        if found is None or found.doubtful:
            return None
        attacks = {tuple(pair) for pair in line["attacks"]}
        own = [one for one in found.lines if one[2].family == "verify" or (one[2].attack, one[2].params) in attacks]
        have = {(row.attack, row.params) for _, _, row in own}
        if not attacks <= have and not _failed_whole([row for _, _, row in own]):
            return None
        new = [one for one in own if one[0] not in self._taken]
        self._taken.update(number for number, _, _ in new)
        return [raw for _, raw, _ in new]

    def left(self) -> Iterator[Damage]:
        """Return the rows of jobs that no line of the journal settles."""
        for job, found in self._jobs.items():
            if found.lines and job not in self._settled:
                raw, first, last = b"".join(raw for _, raw, _ in found.lines), found.lines[0][0], found.lines[-1][0]
                reason = f"no line of the journal settles {job[0]} seed {job[1]}; a process that was ended leaves such rows"
                yield Damage(ROWS, first, reason, raw, last, unsettled=True)


def _failed_whole(rows: Sequence[Row]) -> bool:
    """Say whether the job gave no measurement: one row says why."""
    return any(row.attack == "evaluate" for row in rows)
