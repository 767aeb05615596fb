"""Tables of plain text: whole words on a terminal, whole columns in a pipe."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

GAP = "  "


def width() -> int | None:
    """Return the columns of the terminal, None where the output goes into a pipe or a file: nothing is cut there."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = (), room: int | None = None) -> str:
    """Return lines of aligned columns, with the names in `right` on the right; of `room` columns, as many as fit.

    No cell is cut: columns that do not fit are left out from the right and named below; where the first cell of a line takes
    more than half of the room, its others stand on the next line.
    """
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if room is not None:
        widths[0] = min(widths[0], max([room // 2, *(len(line[0]) for line in lines if len(line[0]) <= room // 2)]))
    kept = len(header)
    while room is not None and kept > 1 and sum(widths[:kept]) + len(GAP) * (kept - 1) > room:
        kept -= 1
    form = GAP.join(f"{{:{'>' if name in right else '<'}{size}}}" for name, size in list(zip(header, widths, strict=True))[:kept])
    found = []
    for line in lines:
        if len(line[0]) > widths[0]:
            found.append(line[0])
            line = ("", *line[1:])
        found.append(form.format(*line[:kept]).rstrip())
    if kept < len(header):
        found.append(f"left out: {', '.join(header[kept:])} (--json has all)")
    return "\n".join(line for line in found if line) + "\n"


def described(items: Sequence[tuple[str, str]], room: int | None = None) -> str:
    """Return one line per item, name and sentence; where a line is wider than `room`, the sentence goes on below, by whole words."""
    import textwrap

    first = max((len(name) for name, _ in items), default=0) + len(GAP)
    if room is None or room < first + 20:
        return "".join(f"{name:<{first}}{sentence}".rstrip() + "\n" for name, sentence in items)
    found = []
    for name, sentence in items:
        parts = textwrap.wrap(sentence, room - first, break_long_words=False) or [""]
        found += [f"{name:<{first}}{parts[0]}".rstrip(), *(" " * first + part for part in parts[1:])]
    return "\n".join(found) + "\n" if found else ""
