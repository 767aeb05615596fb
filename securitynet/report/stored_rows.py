"""Rows where they lie: those of a sweep are read when they are wanted, and of them only what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from securitynet.results.row import Row

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

COLUMNS = (
    "entry", "weights_sha256", "dataset", "family", "attack", "params", "metric", "value", "ci_low", "ci_high", "status", "n", "date",
    "origin", "budget", "scope", "norm", "epsilon",
)  # fmt: skip
FLOATS, INTEGERS = ("value", "ci_low", "ci_high", "epsilon"), ("n", "budget")
SECONDS = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True, eq=False)
class Stored:
    """The rows of a sweep. Going through them reads them anew each time, some thousand at a time; frame() keeps COLUMNS of all."""

    tables: Callable[[Sequence[str]], Iterator[pyarrow.Table]]

    def __iter__(self) -> Iterator[Row]:
        return map(Row.from_record, self.records())

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield all columns of each row by name; dates are text, as in a Row."""
        from securitynet.results.store.parquet import types

        for table in self.tables(types().names):
            yield from _with_text(table).to_pylist()

    @cached_property
    def frame(self) -> pd.DataFrame:
        """COLUMNS of all rows, see frame_of()."""
        import pyarrow
        import pyarrow.compute

        text = [name for name in COLUMNS if name not in (*FLOATS, *INTEGERS)]
        parts = []
        for table in map(_with_text, self.tables(COLUMNS)):
            for name in text:
                place = table.schema.get_field_index(name)
                table = table.set_column(place, name, pyarrow.compute.dictionary_encode(table[name]))
            parts.append(table)
        frame = pyarrow.concat_tables(parts).unify_dictionaries().to_pandas(strings_to_categorical=True)
        return frame.astype(dict.fromkeys(INTEGERS, "Int64"))


Rows = Iterable[Row] | Stored


def frame_of(rows: Rows) -> pd.DataFrame:
    """Return COLUMNS of the rows, in their order: text as categories, INTEGERS as Int64, what is missing as missing."""
    if isinstance(rows, Stored):
        return rows.frame
    import pandas as pd

    found = list(rows)
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        values = [getattr(row, name) for row in found]
        if name in FLOATS:
            columns[name] = pd.array(values, dtype="Float64").to_numpy(float, na_value=float("nan"))
        else:
            columns[name] = pd.array(values, dtype="Int64") if name in INTEGERS else pd.Categorical(values)
    return pd.DataFrame(columns)


def records_of(rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield all columns of each row by name."""
    return rows.records() if isinstance(rows, Stored) else (row.to_record() for row in rows)


def _with_text(table: pyarrow.Table) -> pyarrow.Table:
    """The table with its dates as text."""
    import pyarrow
    import pyarrow.compute

    place = table.schema.get_field_index("date")
    seconds = table["date"].cast(pyarrow.timestamp("s"))
    return table.set_column(place, "date", pyarrow.compute.strftime(seconds, format=SECONDS))
