"""Columns of records: their types, their meaning, and `datasets.Features` made from them. Imports nothing of the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets


def column(dtype: str, doc: str, default: Any = None, *, init: bool = True) -> Any:
    """Declare a column of a dataclass: `dtype` as in dtypes_of(), `doc` gives meaning and unit, for people.

    With `init` False the value is computed by the class itself.
    """
    metadata = {"dtype": dtype, "doc": doc}
    return field(default=default, metadata=metadata) if init else field(init=False, metadata=metadata)


def dtypes_of(record: type) -> dict[str, str]:
    """Return name -> dtype of a dataclass made of columns: string, json (text that is JSON), int32, int64, float64, bool, timestamp[s],
    or `list:` one of them."""
    return {one.name: one.metadata["dtype"] for one in fields(record)}


def features_of(columns: Mapping[str, str]) -> datasets.Features:
    """Return the `datasets.Features` of columns given as name -> dtype (`list:` before the dtype of a list).

    Columns of dtype json are strings: with a `datasets.Json` among the features, datasets 5.2 reads every number of a JSONL
    file with ten digits only. securitynet.catalog.parsed() gives the objects.
    """
    from datasets import Features, List, Value

    def feature(dtype: str) -> object:
        dtype = "string" if dtype == "json" else dtype
        return List(Value(dtype.removeprefix("list:"))) if dtype.startswith("list:") else Value(dtype)

    return Features({name: feature(dtype) for name, dtype in columns.items()})
