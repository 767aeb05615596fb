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
    """Return lines of aligned columns, with the names in `right` on the right; in `room` columns, as many as fit, of the last as much.

    The first column is never cut. Columns that do not fit are left out from the right, and their names are stated below.
    """
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    kept = len(header)
    while room is not None and kept > 1 and sum(widths[:kept]) + len(GAP) * (kept - 1) > room:
        kept -= 1
    form = GAP.join(f"{{:{'>' if name in right else '<'}{size}}}" for name, size in list(zip(header, widths, strict=True))[:kept])
    text = "".join(form.format(*line[:kept]).rstrip() + "\n" for line in lines)
    if kept < len(header):
        text += f"not shown for lack of room: {', '.join(header[kept:])} (--json has everything)\n"
    return text


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
