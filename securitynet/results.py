"""Rows to JSONL, to `datasets.Dataset`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets


def features_of(columns: Mapping[str, str]) -> datasets.Features:
    """Return the `datasets.Features` of columns given as name -> dtype (`list:` before the dtype of a list)."""
    from datasets import Features, List, Value

    def feature(dtype: str) -> object:
        return List(Value(dtype.removeprefix("list:"))) if dtype.startswith("list:") else Value(dtype)

    return Features({name: feature(dtype) for name, dtype in columns.items()})


def row_features() -> datasets.Features:
    """Return the features of config `results`, and of every dataset of results."""
    from securitynet.attack import Row

    return features_of({column.name: column.metadata["dtype"] for column in fields(Row)})
