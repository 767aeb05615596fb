"""Rows as a `datasets.Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from securitynet.results.row import Row, row_features
from securitynet.schema import dtypes_of

if TYPE_CHECKING:
    import datasets


def to_dataset(rows: Sequence[Row]) -> datasets.Dataset:
    """Return rows as a `datasets.Dataset` with the features of config `results`."""
    import pandas as pd
    from datasets import Dataset

    columns = {name: [getattr(row, name) for row in rows] for name in dtypes_of(Row)}
    columns["date"] = [None if date is None else pd.Timestamp(date).to_pydatetime() for date in columns["date"]]
    return Dataset.from_dict(columns, features=row_features())
