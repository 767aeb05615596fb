"""The leaderboard: a static page of rankings that any web server, or a static Space, can hand out, with all rows beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from securitynet.cache import replacing
from securitynet.errors import UsageError
from securitynet.metrics.vocabulary import VOCABULARY
from securitynet.report.measure_table import MeasureTable, measure_table
from securitynet.report.page.html import colours_of, explorer, write_html
from securitynet.report.page.ranking import Ranking, described, rankings
from securitynet.report.page.report_page import write_csv
from securitynet.report.stored_rows import Rows, Stored
from securitynet.results.dataset import to_dataset
from securitynet.results.row import row_features

SPACE = """---
title: securitynet leaderboard
sdk: static
app_file: index.html
pinned: false
---

What attacks find in public image classifiers: models ranked by dataset and attack, with intervals. `rows.csv` and `rows.parquet` hold all
rows.
"""
FACTS = ("purpose", "model_type")


def write_leaderboard(rows: Rows, folder: Path) -> list[Path]:
    """Write index.html, the README.md of a static Space, rows.csv and rows.parquet into `folder`; return their paths.

    Only models with a number of an attack are shown. Raises UsageError where there is none.
    """
    rows = rows if isinstance(rows, Stored) else list(rows)
    table = measure_table(rows)
    attacks = table.attacks()
    shown = table.frame[table.frame[attacks].notna().any(axis=1)] if attacks else table.frame[:0]
    found = rankings(rows)
    if not len(shown) or not found:
        raise UsageError("the rows hold no number of an attack, so there is nothing to rank")
    board = explorer(replace(table, frame=shown))
    models = len({one.entry for ranking in found for one in ranking.standings})
    page = write_html(folder / "index.html", "board.html.j2", explorer=board, ranking=_data(found, table), models=models)
    readme, parquet = folder / "README.md", folder / "rows.parquet"
    with replacing(readme) as part:
        part.write_text(SPACE, encoding="utf-8")
    with replacing(parquet) as part:
        _write_parquet(rows, part)
    return [page, readme, write_csv(rows, folder / "rows.csv"), parquet]


def _write_parquet(rows: Rows, path: Path) -> None:
    import pyarrow.parquet

    if not isinstance(rows, Stored):
        return pyarrow.parquet.write_table(to_dataset(list(rows)).data.table, path)
    schema = row_features().arrow_schema
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for table in rows.tables(schema.names):
            writer.write_table(table.cast(schema))


def _data(found: Sequence[Ranking], table: MeasureTable) -> dict[str, Any]:
    """Return what the page's script reads: rankings, what their metrics are, facts of the models, a colour per dataset."""
    metrics = {name for one in found for name in (one.metric, *one.beside)}
    kinds = dict(zip(table.frame["entry"], table.frame[list(FACTS)].itertuples(index=False, name=None), strict=True))
    models = {one.entry for ranking in found for one in ranking.standings}
    facts = {}
    for name in sorted(models):
        entry = table.entries.get(name)
        facts[name] = [*kinds.get(name, ("", "")), (entry and entry.licence) or "", str((entry and entry.year) or "")]
    return {
        "rankings": [_record(one) for one in found],
        "metrics": {name: described(VOCABULARY[name]) for name in sorted(metrics)},
        "models": facts,
        "colours": colours_of([one.dataset for one in found]),
    }


def _record(one: Ranking) -> dict[str, Any]:
    names = ("dataset", "attack", "family", "metric", "origin", "beside", "left_out")
    cells = ("rank", "best", "worst", "entry", "value", "low", "high", "n", "date", "weights", "beside")  # as the script counts them
    rows = [[getattr(own, name) for name in cells] for own in one.standings]
    return {**{name: getattr(one, name) for name in names}, "rows": rows}
