"""The leaderboard: a static page of models and attacks that any web server, or a static Space, can hand out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from securitynet.cache import replacing
from securitynet.errors import UsageError
from securitynet.report.html import explorer, write_html
from securitynet.report.measured import measured
from securitynet.results.row import Row

SPACE = """---
title: securitynet leaderboard
sdk: static
app_file: index.html
pinned: false
---

What attacks find in public image classifiers: one line per model and dataset, one column per attack.
"""


def write_leaderboard(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Write index.html and the README.md of a static Space into `folder`; return both paths.

    Only models with a number of an attack are shown. Raises UsageError where there is none.
    """
    table = measured(rows)
    attacks = table.attacks()
    shown = table.frame[table.frame[attacks].notna().any(axis=1)] if attacks else table.frame[:0]
    if not len(shown):
        raise UsageError("the rows hold no number of an attack, so there is nothing to rank")
    board = explorer(replace(table, frame=shown))
    page = write_html(folder / "index.html", "leaderboard.html.j2", explorer=board, models=len(shown), attacks=len(attacks))
    readme = folder / "README.md"
    with replacing(readme) as part:
        part.write_text(SPACE, encoding="utf-8")
    return [page, readme]
