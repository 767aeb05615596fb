"""All rows of a store as one Parquet file, and as Arrow tables: a few thousand rows are in memory at a time."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cache import replacing
from securitynet.results.row import SCHEMA, Row
from securitynet.results.store.contents import Contents
from securitynet.results.store.journal import Batch
from securitynet.results.store.lines import row_of

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

PARQUET = "rows.parquet"
ORDER = ("entry", "seed", "family", "attack", "params", "metric")  # of the rows of the file; it does not depend on who measured them when
GROUP = 10_000  # rows that are read, sorted and written together: a row group
HOLDS = b"securitynet.holds"  # the digest of all batches that the file was written from


@cache
def types() -> pyarrow.Schema:
    """Return the columns of rows with the types of a dataset of results, whose library need not be loaded for this."""
    import pyarrow

    return pyarrow.schema([(column.name, pyarrow.type_for_alias(column.metadata["dtype"])) for column in fields(Row)])


def write_parquet(contents: Contents) -> Path:
    """Write rows.parquet, in order, unless it holds these very rows; return its path. It appears whole or not at all.

    Raises ValueError where a segment does not hold what the journal says.
    """
    import pyarrow.parquet

    path, batches = contents.folder / PARQUET, _in_order(contents.batches)
    digest = _digest(batches)
    if _is_sound(path, digest):
        return path
    with replacing(path) as part, pyarrow.parquet.ParquetWriter(part, types(), write_page_checksum=True) as writer:
        for group in _groups(batches):
            writer.write_table(_sorted(table_of(b"".join(_bytes(contents, group)))))
        writer.add_key_value_metadata({HOLDS: digest})
    return path


def tables(contents: Contents, columns: Sequence[str]) -> Iterator[pyarrow.Table]:
    """Yield these columns of all rows that count, in the order of rows.parquet, some thousand rows at a time.

    They come from rows.parquet where it holds these rows and is sound, else from the segments. Raises ValueError as write_parquet() does.
    """
    batches = _in_order(contents.batches)
    file = _opened(contents.folder / PARQUET)
    current = file if file is not None and _holds(file) == _digest(batches) else None
    with file or contextlib.nullcontext():
        for number, group in enumerate(_groups(batches)):
            table = None if current is None else _group(current, number, columns)
            yield _sorted(table_of(b"".join(_bytes(contents, group)))).select(list(columns)) if table is None else table


def table_of(data: bytes) -> pyarrow.Table:
    """Return rows as a table, from their lines: by Arrow's reader where they have the present columns, each row once.

    Raises ValueError for a line that holds no row.
    """
    import pyarrow.compute
    import pyarrow.json

    schema = types()
    reading = pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1)
    parsing = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        table = pyarrow.json.read_json(io.BytesIO(data), reading, parsing) if data else schema.empty_table()
    except pyarrow.ArrowInvalid:  # a date with a zone, text that is half of a surrogate pair, an older form
        table = None
    return table if table is not None and _is_present(table) else _table_of_rows(map(row_of, data.splitlines(keepends=True)))


def _is_present(table: pyarrow.Table) -> bool:
    """Say whether all rows have the columns of today, and each stands there once."""
    import pyarrow.compute as compute

    current = compute.all(compute.fill_null(compute.equal(table["schema"], SCHEMA), False)).as_py()
    return current is not False and compute.count_distinct(table["row_id"], mode="all").as_py() == len(table)


def _table_of_rows(rows: Iterable[Row]) -> pyarrow.Table:
    import pyarrow

    known = {row.row_id: row for row in rows}.values()
    records = [{**row.to_record(), "date": None if row.date is None else datetime.fromisoformat(row.date)} for row in known]
    return pyarrow.Table.from_pylist(records, types())


def _sorted(table: pyarrow.Table) -> pyarrow.Table:
    """The rows in order; a row without a seed stands where seed 0 does."""
    import pyarrow.compute as compute

    keys = table.select(list(ORDER))
    keys = keys.set_column(ORDER.index("seed"), "seed", compute.fill_null(keys["seed"], 0))
    return table.take(compute.sort_indices(keys, [(name, "ascending") for name in ORDER]))


def _in_order(batches: Iterable[Batch]) -> list[Batch]:
    """Batches by the name that their rows have; those of a job stand together."""
    return sorted(batches, key=lambda batch: (batch.line.get("named") or batch.job, batch.line.get("seed") or 0, batch.n))


def _groups(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Whole jobs, so many that they have GROUP rows or a little more."""
    group: list[Batch] = []
    rows = 0
    for batch in batches:
        if rows >= GROUP and batch.job != group[-1].job:
            yield group
            group, rows = [], 0
        group.append(batch)
        rows += batch.count
    if group:
        yield group


def _bytes(contents: Contents, batches: Iterable[Batch]) -> Iterator[bytes]:
    for batch in batches:
        yield from contents.records(batch)


def _digest(batches: Iterable[Batch]) -> bytes:
    hasher = hashlib.sha256(f"{SCHEMA} {GROUP}".encode())
    for batch in batches:
        hasher.update(str(batch.line["rows"]["sha256"]).encode())
    return hasher.hexdigest().encode()


def _opened(path: Path) -> pyarrow.parquet.ParquetFile | None:
    """The file with its checksums to be verified; None where there is none, or it is no Parquet file."""
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pyarrow.ArrowInvalid):
        return None


def _holds(file: pyarrow.parquet.ParquetFile) -> bytes | None:
    return (file.metadata.metadata or {}).get(HOLDS)


def _group(file: pyarrow.parquet.ParquetFile, number: int, columns: Sequence[str] | None = None) -> pyarrow.Table | None:
    """A row group, None where it is damaged."""
    import pyarrow

    try:
        return file.read_row_group(number, None if columns is None else list(columns))
    except (OSError, pyarrow.ArrowInvalid):
        return None


def _is_sound(path: Path, digest: bytes) -> bool:
    """Say whether the file holds the rows of this digest, every page as it was written."""
    file = _opened(path)
    if file is None:
        return False
    with file:
        return _holds(file) == digest and all(_group(file, number) is not None for number in range(file.num_row_groups))
