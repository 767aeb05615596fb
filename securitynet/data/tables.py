"""Tables of the `datasets` library: a Dataset or DatasetDict in memory, or as save_to_disk() writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.cache import digest
from securitynet.data import Images
from securitynet.data.columns import Columns, columns_of
from securitynet.data.encoded import EncodedImages, is_grey
from securitynet.data.fingerprint import WHOLE, of_files
from securitynet.data.labels import ClassOrder, of_texts
from securitynet.data.listing import Found
from securitynet.data.parquet import content_of, orders_of
from securitynet.data.request import ImageRequest, split_of
from securitynet.errors import DataError
from securitynet.foreign import regular

if TYPE_CHECKING:
    import datasets

MARKS = ("dataset_dict.json", "state.json")
MOST_STATE = 1 << 20


class TableImages:
    """Images of a Dataset by position; `folder`: below which files may lie that cells name (None: the table is the user's own)."""

    def __init__(self, table: datasets.Dataset, column: str, what: str, folder: Path | None) -> None:
        import datasets as library

        self.table = table.select_columns([column]).cast_column(column, library.Image(decode=False)) if column else table
        self.column, self.what, self.folder = column, what, folder

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[str, bytes | Path]:
        name, cell = f"{self.what}, row {index}", self.table[index][self.column]
        place = cell.get("path") if isinstance(cell, dict) else None
        if self.folder is None and not (cell or {}).get("bytes") and isinstance(place, str) and "://" not in place:
            return name, regular(Path(place), DataError)
        return name, content_of(cell, name, self.folder)


def is_saved(folder: Path) -> bool:
    """Say whether a folder is one that save_to_disk() wrote."""
    return any((folder / mark).is_file() for mark in MARKS)


def read_saved(folder: Path, request: ImageRequest) -> Found:
    """Return the parts of what save_to_disk() wrote. Raises DataError, also where it names files outside of the folder."""
    import datasets

    splits = [folder] if (folder / MARKS[1]).is_file() else [child for child in folder.iterdir() if (child / MARKS[1]).is_file()]
    for split in splits:
        _check_state(split / MARKS[1])
    try:
        held = datasets.load_from_disk(str(folder))
    except Exception as error:  # the library raises Arrow's errors and its own
        line = " ".join(str(error).split())[:160]
        raise DataError(f"{folder}: what save_to_disk() wrote cannot be read ({line}); save it again") from error
    return read_tables(held, request, str(folder), folder)


def _check_state(path: Path) -> None:
    try:
        text = regular(path, DataError).read_text(encoding="utf-8") if path.stat().st_size < MOST_STATE else ""
        names = [str(one["filename"]) for one in json.loads(text)["_data_files"]]
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not as save_to_disk() writes it; save it again") from error
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"{path}: names {name[:80]}, which lies outside the folder; it is not opened")
        regular(path.parent / name, DataError)


def read_tables(held: Any, request: ImageRequest, what: str, folder: Path | None = None) -> Found:
    """Return the parts of a Dataset, or of a mapping of them by split. A Dataset that names no split is taken as test images.

    Classes are matched by their names (ClassLabel) in each part by itself. Raises DataError, also for a transform of the user's.
    """
    given = dict(held) if isinstance(held, Mapping) else {_split(held): held}
    splits = request.split_names(given)
    if not splits:
        raise DataError(f"{what}: its splits are {', '.join(map(str, given))[:80]}; one called train or test is needed")
    tables = {part: _plain(given[name], f"{what}: {name}") for part, name in splits.items()}
    columns = {part: columns_of(table.features.arrow_schema, request.record, f"{what}: {splits[part]}") for part, table in tables.items()}
    orders = orders_of({f"{what}: {splits[part]}": one for part, one in columns.items()}, request)
    parts: dict[str, Images | None] = {"train": None, "test": None}
    grey: bool | None = None
    for part, table in tables.items():
        name = f"{what}: {splits[part]}"
        source = TableImages(table, columns[part].image, name, folder)
        grey = is_grey(source, request.record) if grey is None and len(source) else bool(grey)
        labels = _labels(table, columns[part], request, orders[name], name)
        parts[part] = EncodedImages(source, labels, _content(source, table), grey)
    return Found(parts, next((order for order in orders.values() if order is not None), None))


def _split(table: Any) -> str:
    return split_of(str(getattr(table, "split", None) or "")) or "test"


def _plain(table: Any, what: str) -> datasets.Dataset:
    """The rows as they are kept: a format is left out, a transform is refused."""
    import datasets

    if not isinstance(table, datasets.Dataset):
        raise DataError(f"{what}: a {type(table).__name__}; load it as a whole (streaming=False)")
    if table.format["type"] == "custom":
        raise DataError(f"{what}: has a transform, and pixels are made by the model's own; call reset_format() on it first")
    return table.with_format(None)


def _labels(table: datasets.Dataset, columns: Columns, request: ImageRequest, order: ClassOrder | None, what: str) -> np.ndarray:
    values = table.select_columns([columns.label]).with_format(None)[:][columns.label]
    if (empty := sum(value is None for value in values)) > 0:
        raise DataError(f"{what}: column {columns.label} has {empty} empty labels; remove those rows")
    if values and all(isinstance(value, str) for value in values):
        return of_texts(values, request.classes, f"{what}: column {columns.label}", request.num_classes)
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise DataError(f"{what}: column {columns.label} holds {type(values[0]).__name__}; integers from 0, or names, are right")
    labels = np.asarray(values, np.int64)
    return order(labels) if order else labels


def _content(source: TableImages, table: datasets.Dataset) -> str:
    """A digest of the images in order; of many, the library's own fingerprint of the table."""
    sizes, held, paths = 0, hashlib.sha256(), []
    for place in range(len(source)):
        _, data = source[place]
        if isinstance(data, Path):
            paths.append(data)
            continue
        sizes += len(data)
        if sizes > WHOLE:
            return digest("table", table._fingerprint, len(table))
        held.update(len(data).to_bytes(8, "big") + data)
    return digest(held.hexdigest(), of_files(paths) if paths else None)
