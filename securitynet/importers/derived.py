"""What follows from a released row: its numbers as rows of results, its annotations as columns of the entry."""

from __future__ import annotations

import json
from typing import Any

from securitynet.errors import DataError
from securitynet.importers.known_errors import flags_of
from securitynet.importers.numeric_columns import CELLS, GAP, MEMBERSHIP_IMAGES, SAMPLE, TEST, TEST_IMAGES, TRAIN, TRAIN_IMAGES, Cell
from securitynet.importers.project import mended
from securitynet.importers.released import ORIGIN, SOURCE_URL, Model, link_of
from securitynet.results.row import Row

COUNTRIES = {"Netherland": "Netherlands"}


def rows_of(model: Model) -> list[Row]:
    """Return one row per numeric cell of the model; a cell without a measurement gives a row of status skipped."""
    return [_row(model, cell) for cell in CELLS if cell.column in model.cells]


def _row(model: Model, cell: Cell) -> Row:
    value = model.value(cell)
    told = "; ".join(f"{flag.name}: {flag.words}" for flag in flags_of(model) if cell.column in flag.columns) or None
    return Row(
        entry=model.entry,
        dataset=model.dataset,
        family=cell.family,
        attack=cell.attack,
        params=json.dumps({"preset": cell.preset} if cell.preset else {}, separators=(",", ":")),
        metric=cell.metric,
        value=value,
        status="skipped" if value is None else "ok",
        reason=_missing(model, cell) if value is None else told,
        n=None if value is None else _images(model, cell),
        origin=ORIGIN,
        source_url=SOURCE_URL,
    )


def _missing(model: Model, cell: Cell) -> str:
    printed = model.cells[cell.column]
    if cell.column == GAP:
        return f"{TRAIN} is printed as {model.cells[TRAIN]}, so the printed {printed} is no gap"
    return f"not measured: printed as {printed}"


def _images(model: Model, cell: Cell) -> int | None:
    if cell.family == "stealing":
        return TEST_IMAGES.get(model.dataset)
    if model.table == "security" and cell.column != GAP:
        return 2 * SAMPLE if cell.family == "membership" else SAMPLE
    if cell.family == "membership":
        return MEMBERSHIP_IMAGES.get(model.dataset)
    return {TRAIN: TRAIN_IMAGES, TEST: TEST_IMAGES}.get(cell.column, {}).get(model.dataset)


def annotations_of(model: Model) -> dict[str, Any]:
    """Return what the table says about the model itself, by column of Entry."""
    cells = model.cells
    return {
        "family": cells["Model Type"],
        "dataset": model.dataset,
        "num_classes": _whole(model, "Num Class"),
        "train_size": _whole(model, "Training Size"),
        "paper_url": mended(link_of(cells["Paper Link"])),
        "venue": cells["Conference"],
        "venue_type": cells["Conference Type"],
        "year": _whole(model, "Year"),
        "countries": sorted({COUNTRIES.get(name.strip(), name.strip()) for name in cells["Country"].split(",")}),
        "num_authors": _whole(model, "Num Authors"),
        "purpose": cells["Purpose"],
        "flags": [flag.name for flag in flags_of(model)] or None,
        "paper_table": model.table,
        "paper_model_type": cells["Model Type"],
        "paper_run": model.run,
        "paper_record": json.dumps(dict(cells), ensure_ascii=False),
    }


def _whole(model: Model, column: str) -> int:
    if not model.cells[column].isdecimal():
        raise DataError(f"line {model.line}: {column} is {model.cells[column]!r}, not a whole number")
    return int(model.cells[column])
