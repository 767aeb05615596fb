"""Parquet files with a column of encoded images and one of labels, read one row group at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.cache import digest
from securitynet.data.columns import Columns, columns_of
from securitynet.data.dataset import ImageDataset
from securitynet.data.encoded import EncodedImages, is_grey
from securitynet.data.fingerprint import of_files
from securitynet.data.labels import ClassOrder, class_order, of_texts
from securitynet.data.request import ImageRequest, split_of
from securitynet.errors import DataError
from securitynet.foreign import FREE_BYTES, MOST_RATIO, regular

if TYPE_CHECKING:
    import pyarrow as pa

HELD = 256 * 2**20
MOST_BYTES = 4 * 2**30  # of a row group in memory
MOST_ROWS, MOST_COLUMNS = 50_000_000, 10_000
DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)  # Arrow's own are among them
MANY_GROUPS = 32


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file: the smallest piece that is read."""

    file: str
    index: int
    rows: int


class ParquetSource:
    """Encoded images of some row groups by position; groups read last are kept, up to 256 MB."""

    def __init__(self, groups: Sequence[RowGroup], column: str) -> None:
        self.groups, self.column = groups, column
        self.ends = np.cumsum([group.rows for group in groups])
        self._held: OrderedDict[int, list[Any]] = OrderedDict()
        self._sizes: dict[int, int] = {}

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> tuple[str, bytes | Path]:
        place = int(np.searchsorted(self.ends, index, side="right"))
        row = index - (int(self.ends[place - 1]) if place else 0)
        file = Path(self.groups[place].file)
        name = f"{file}, row group {self.groups[place].index}, row {row}"
        return name, content_of(self._group(place)[row], name, file.parent)

    def _group(self, place: int) -> list[Any]:
        if place in self._held:
            self._held.move_to_end(place)
            return self._held[place]
        column = read_group(self.groups[place], [self.column]).column(0)
        try:
            self._held[place], self._sizes[place] = column.to_pylist(), column.nbytes
        except DAMAGE as error:
            raise DataError(f"{self.groups[place].file}: column {self.column} cannot be read ({_line(error)}); fetch it again") from error
        while len(self._held) > 1 and sum(self._sizes[one] for one in self._held) > HELD:
            self._held.popitem(last=False)
        return self._held[place]


def content_of(cell: Any, name: str, folder: Path | None) -> bytes | Path:
    """Return the image in a cell: its bytes, else the file that it names, which must lie below `folder` (None: there are no files).

    Raises DataError for what is neither: a table may be anybody's, and where it points to is theirs to say, not to open.
    """
    place = cell.get("path") if isinstance(cell, dict) else cell if isinstance(cell, str) else None
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(data, bytes) and data:
        return data
    if place is None:
        raise DataError(f"{name}: the image is null or no image; remove the row")
    if not isinstance(place, str) or "://" in place:
        raise DataError(f"{name}: the image is an address ({str(place)[:80]}), which is never opened; tables must hold the images' bytes")
    try:
        found = (folder / place).resolve() if folder is not None else Path(place)
        inside = folder is not None and found != folder.resolve() and found.is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        inside = False
    if not inside:
        raise DataError(f"{name}: the image is a path ({place[:80]}) outside the table's folder, which is not opened")
    return regular(found, DataError)


def read_group(group: RowGroup, columns: Sequence[str]) -> pa.Table:
    """Return some columns of a row group. Raises DataError where the file is damaged, or unpacks to more than memory should hold.

    A dictionary may repeat one large value in many rows, so that rows are read few at a time and counted.
    """
    import pyarrow as pa

    file = open_parquet(Path(group.file), group.file)
    batches, held = [], 0
    try:
        rows, most = _bounds(file, group, columns)
        for one in file.iter_batches(rows, row_groups=[group.index], columns=list(columns)):
            batches.append(one)
            held += one.nbytes
            if held > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
        table = pa.Table.from_batches(batches)
        if (table.num_rows, table.num_columns) != (group.rows, len(columns)):
            raise ValueError(f"{table.num_rows} rows of {table.num_columns} columns for {group.rows} of {len(columns)}")
    except (pa.ArrowException, *DAMAGE) as error:
        raise DataError(f"{group.file}: row group {group.index} cannot be read ({_line(error)}); fetch it again") from error
    return table


def _bounds(file: Any, group: RowGroup, columns: Sequence[str]) -> tuple[int, int]:
    """How many rows to read at once, and how many bytes at most.

    So few rows that they fit in memory even if each holds the largest value that the column may have; images hardly compress.
    """
    footer = file.metadata.row_group(group.index)
    found = [footer.column(place) for place in range(footer.num_columns)]
    texts = [one for one in found if "BYTE_ARRAY" in one.physical_type and one.path_in_schema.split(".")[0] in columns]
    size, packed = sum(one.total_uncompressed_size for one in texts), sum(one.total_compressed_size for one in texts)
    most = max(FREE_BYTES, MOST_RATIO * packed) if texts else MOST_BYTES
    if size > min(most, MOST_BYTES):
        raise ValueError(f"a column of {size:,} bytes")
    return int(max(1, min(65_536, HELD // max(1, size)))), min(most, MOST_BYTES)


def open_parquet(file: Any, name: str) -> Any:
    """Return the `pyarrow.parquet.ParquetFile` of a path or file object: its footer is read. Raises DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(file, Path):
        regular(file, DataError)
    try:
        opened = pq.ParquetFile(file)
        rows, groups, columns = opened.metadata.num_rows, opened.metadata.num_row_groups, len(opened.schema_arrow.names)
    except (pa.ArrowException, *DAMAGE) as error:
        raise DataError(f"{name}: not a readable Parquet file ({_line(error)}); fetch it again") from error
    if not 0 <= rows <= MOST_ROWS or groups > MOST_ROWS // 100 or columns > MOST_COLUMNS:
        raise DataError(f"{name}: {rows:,} rows in {groups:,} row groups of {columns:,} columns are no table of images; it is refused")
    return opened


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_parquet(path: Path, request: ImageRequest) -> tuple[dict[str, EncodedImages | None], ClassOrder | None]:
    """Return the parts `train` and `test` of a Parquet file or of a folder of them, and the order of their classes.

    A file belongs to the split that its path names (data/train-00000-of-00002.parquet); a single file that names none is
    taken as test images. Raises DataError.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    config = request.record.hub_config if request.record else None
    files = [file for file in files if config in file.relative_to(path).parts] or files
    by_split: dict[str, list[Path]] = {}
    for file in files:
        name = split_of(str(file.relative_to(path)) if path.is_dir() else file.name) or ("test" if len(files) == 1 else None)
        by_split.setdefault(name or "", []).append(file)
    splits = request.split_names(by_split)
    if not splits:
        raise DataError(f"{path}: no Parquet file says its split; call them train-*.parquet and test-*.parquet")
    return read_parts({part: by_split[name] for part, name in splits.items()}, request)


def read_parts(
    files: dict[str, list[Path]],
    request: ImageRequest,
    fingerprints: Mapping[str, str] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> tuple[dict[str, EncodedImages | None], ClassOrder | None]:
    """Return the parts of local Parquet files, and the order of their classes.

    `fingerprints` replaces the files' own, `names` (by column) adds class names that the files do not carry. Of a
    large part only row groups drawn by seed are read.
    """
    parts: dict[str, EncodedImages | None] = {"train": None, "test": None}
    grey: bool | None = None
    tables = {path: _columns(path, request, names or {}) for paths in files.values() for path in paths}
    orders = orders_of({str(path): columns for path, columns in tables.items()}, request)
    for part, paths in files.items():
        columns = tables[paths[0]]
        if strange := next((path for path in paths if (tables[path].image, tables[path].label) != (columns.image, columns.label)), None):
            raise DataError(f"{strange}: its columns of images and labels are called otherwise than in {paths[0].name}; rename them")
        groups, whole = drawn(row_groups(paths), request, part)
        labels = read_labels(groups, columns, request, orders)
        source = ParquetSource(groups, columns.image)
        grey = is_grey(source, request.record) if grey is None and len(source) else bool(grey)
        content = fingerprints[part] if fingerprints else of_files(paths)
        chosen = None if whole else [(paths.index(Path(group.file)), group.index) for group in groups]
        parts[part] = EncodedImages(source, labels, digest(content, chosen), grey)
    return parts, next((order for order in orders.values() if order is not None), None)


def _columns(path: Path, request: ImageRequest, names: Mapping[str, Sequence[str]]) -> Columns:
    columns = columns_of(open_parquet(path, str(path)).schema_arrow, request.record, str(path))
    return columns if columns.names or columns.label not in names else replace(columns, names=tuple(names[columns.label]))


def orders_of(tables: Mapping[str, Columns], request: ImageRequest) -> dict[str, ClassOrder | None]:
    """Return the order of each file's classes; the same names in another order are mapped to the first. Raises DataError."""
    orders: dict[str, ClassOrder | None] = dict.fromkeys(tables)
    named = {file: columns.names for file, columns in tables.items() if columns.names}
    classes = request.classes
    for file, names in named.items():
        orders[file] = class_order(names, classes, file, request.num_classes)
        if classes is None or classes.class_names is None:
            classes = replace(classes or ImageDataset(key=Path(file).name), class_names=names, num_classes=len(names))
    bare = next((file for file in tables if file not in named), None)
    moved = next((file for file, order in orders.items() if order is not None and not order.is_identity), None)
    if bare is not None and moved is not None:
        raise DataError(
            f"{bare}: does not name its classes, and {Path(moved).name} orders them otherwise than the model; name them in both"
        )
    return orders


def row_groups(paths: Sequence[Path]) -> list[RowGroup]:
    """Return all row groups of local files; only footers are read."""
    found = []
    for path in paths:
        footer = open_parquet(path, str(path)).metadata
        found += [RowGroup(str(path), index, footer.row_group(index).num_rows) for index in range(footer.num_row_groups)]
    return [group for group in found if group.rows]


def drawn(groups: Sequence[RowGroup], request: ImageRequest, part: str) -> tuple[list[RowGroup], bool]:
    """Return the row groups to read, in order, and whether they are all.

    Of a large part, groups are drawn by seed until they hold `samples` rows, and at least 32 groups or four times as many
    rows, so that files sorted by class give more than a few classes.
    """
    if request.samples is None or not request.is_large(sum(group.rows for group in groups)):
        return list(groups), True
    rows = 0
    chosen: list[int] = []
    for place in request.generator("row groups", part).permutation(len(groups)):
        if rows >= request.samples and (len(chosen) >= MANY_GROUPS or rows >= 4 * request.samples):
            break
        chosen.append(int(place))
        rows += groups[place].rows
    return [groups[place] for place in sorted(chosen)], False


def read_labels(groups: Sequence[RowGroup], columns: Columns, request: ImageRequest, orders: Mapping[str, ClassOrder | None]) -> np.ndarray:
    """Return the labels of some row groups, int64, as labels of the dataset; `orders` are those of each file's classes."""
    files = list(dict.fromkeys(group.file for group in groups))
    found = [_labels([group for group in groups if group.file == file], columns.label, request, orders.get(file)) for file in files]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _labels(groups: Sequence[RowGroup], column: str, request: ImageRequest, order: ClassOrder | None) -> np.ndarray:
    import pyarrow as pa

    what = f"{groups[0].file}: column {column}"
    try:
        values = pa.chunked_array([chunk for group in groups for chunk in read_group(group, [column]).column(0).chunks])
        numbers = values.to_numpy() if pa.types.is_integer(values.type) and not values.null_count else None
        texts = values.to_pylist() if numbers is None else []
    except (pa.ArrowException, *DAMAGE) as error:
        raise DataError(f"{what}: the labels cannot be read ({_line(error)}); save integers from 0") from error
    if values.null_count:
        raise DataError(f"{what} has {values.null_count} empty labels; remove those rows")
    if numbers is not None:
        labels: np.ndarray = numbers.astype(np.int64)
        return order(labels) if order else labels
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f"{what} holds {str(values.type)[:60]}; save integers from 0")
    return of_texts(texts, request.classes, what, request.num_classes)
