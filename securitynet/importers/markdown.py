"""Pipe tables of a Markdown file, read strictly: by heading and header names, never by position, nothing guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securitynet.errors import DataError

SEPARATOR = re.compile(r":?-+:?")


@dataclass(frozen=True)
class TableRow:
    """One row: the number of its line, and the stripped text of each cell by column name."""

    line: int
    cells: Mapping[str, str]


def tables(text: str, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[TableRow]]:
    """Return the rows of the tables under the level-two headings `wanted`, which name the columns that each must have.

    Raises DataError with the line number for a table under another heading, a second table under one heading, a column
    that is missing, repeated or unknown, a row with another number of cells; and for a heading without its table.
    """
    blocks = _blocks(text.splitlines(), wanted)
    for heading in wanted:
        if heading not in blocks:
            raise DataError(f"no table under the heading {heading!r}")
    return {heading: _rows(heading, blocks[heading], wanted[heading]) for heading in wanted}


def _blocks(lines: Sequence[str], wanted: Mapping[str, Sequence[str]]) -> dict[str, list[tuple[int, str]]]:
    """Return the numbered lines of each table by its heading."""
    found: dict[str, list[tuple[int, str]]] = {}
    heading, inside = "", False
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        is_row = line.startswith("|")
        if is_row and not inside:
            if heading not in wanted:
                raise DataError(f"line {number}: a table under the unknown heading {heading!r}; known: {', '.join(wanted)}")
            if heading in found:
                raise DataError(f"line {number}: a second table under {heading!r}")
            found[heading] = []
        if is_row:
            found[heading].append((number, line))
        inside = is_row
    return found


def _rows(heading: str, block: Sequence[tuple[int, str]], wanted: Sequence[str]) -> list[TableRow]:
    number, header = block[0]
    columns = _cells(number, header)
    _check_columns(number, heading, columns, wanted)
    if len(block) < 2 or not all(SEPARATOR.fullmatch(cell) for cell in _cells(*block[1])):
        raise DataError(f"line {number + 1}: the header of {heading!r} is not followed by its line of dashes")
    rows = []
    for number, line in block[1:]:
        cells = _cells(number, line)
        if len(cells) != len(columns):
            raise DataError(f"line {number}: {len(cells)} cells, the header of {heading!r} has {len(columns)}")
        rows.append(TableRow(number, dict(zip(columns, cells, strict=True))))
    return rows[1:]


def _cells(number: int, line: str) -> list[str]:
    inner = line.strip()
    if len(inner) < 2 or not inner.endswith("|"):
        raise DataError(f"line {number}: the row does not end with '|'")
    return [cell.strip() for cell in inner[1:-1].split("|")]


def _check_columns(number: int, heading: str, columns: Sequence[str], wanted: Sequence[str]) -> None:
    for name in columns:
        if columns.count(name) > 1:
            raise DataError(f"line {number}: column {name!r} of {heading!r} stands there twice")
        if name not in wanted:
            raise DataError(f"line {number}: unknown column {name!r} of {heading!r}; known: {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in columns]:
        raise DataError(f"line {number}: {heading!r} lacks the column {missing[0]!r}")
