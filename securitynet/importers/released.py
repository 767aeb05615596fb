"""The models of the released SecurityNet table: what is printed about each, and which entry of the catalog it is.

Zhang et al., SecurityNet, USENIX Security 2024 (arXiv 2310.12665), `Database/README.MD` of TrustAIRLab/SecurityNet, commit ffc8f38.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from securitynet.errors import DataError, UsageError
from securitynet.importers.markdown import TableRow
from securitynet.importers.numeric_columns import GAP, TRAIN, Cell

ORIGIN = "zhang2024"
SOURCE_URL = "https://github.com/TrustAIRLab/SecurityNet/blob/ffc8f38/Database/README.MD"

LINK = re.compile(r"\[[^\]]*\]\((https?://[^\s()]+)\)")
PLACES = {
    "zenodo.org/records/10519652": "medmnist",
    "github.com/osmr/imgclsmob": "pytorchcv",
    "github.com/ivrl/adversarylosslandscape": "ivrl",
    "github.com/microsoft/robust-models-transfer": "robust_transfer",
}
IVRL = re.compile(r"(resnet|vgg)_((?:periodic|plain)_(?:const|cosine|linear|plain))_(\w[\w-]*)")


@dataclass(frozen=True)
class Model:
    """One row of the tables `benchmark` and `security`: its line, its cells as printed, the entry that it is about."""

    table: str
    line: int
    cells: Mapping[str, str]
    dataset: str
    entry: str
    run: int | None = None

    def number(self, column: str) -> float:
        """Return a cell as a number (nan where nan is printed). Raises DataError with the line."""
        try:
            return float(self.cells[column])
        except ValueError:
            raise DataError(f"line {self.line}: {column} is {self.cells[column]!r}, not a number") from None

    def value(self, cell: Cell) -> float | None:
        """Return what was measured, None where nothing was. Raises DataError with the line for a number that is no fraction."""
        value = self.number(cell.column)
        if math.isnan(value) or (cell.zero and value == 0) or (cell.column == GAP and self.number(TRAIN) == 0):
            return None
        if not (-1 if cell.column == GAP else 0) <= value <= 1:
            raise DataError(f"line {self.line}: {cell.column} is {self.cells[cell.column]}, not a fraction")
        return value


def models_of(table: str, rows: Iterable[TableRow]) -> list[Model]:
    """Return the models of one table, joined to entries. Raises DataError with the line where a row cannot be placed."""
    seen: Counter[tuple[str, str]] = Counter()
    models = []
    for row in rows:
        name, dataset, source = row.cells["Model Name"], _dataset(row), _source(row)
        seen[name, dataset] += 1
        run = seen[name, dataset] if source == "ivrl" else None
        models.append(Model(table, row.line, row.cells, dataset, f"{source}/{_name(row, source, dataset, run)}", run))
    return models


def _dataset(row: TableRow) -> str:
    from securitynet.data.dataset import resolve

    try:
        return resolve(row.cells["Data Name"]).key
    except UsageError as error:
        raise DataError(f"line {row.line}: {error}") from error


def _source(row: TableRow) -> str:
    url = (link_of(row.cells["Weights"]) or "").partition("://")[2].lower()
    for place, source in PLACES.items():
        if url.startswith(place):
            return source
    raise DataError(f"line {row.line}: Weights {row.cells['Weights']!r} is none of the known places: {', '.join(PLACES)}")


def _name(row: TableRow, source: str, dataset: str, run: int | None) -> str:
    """Return the name that the model has at its source."""
    name = row.cells["Model Name"]
    if source == "medmnist":  # the file name alone repeats under every dataset
        return f"{dataset}/{name.removesuffix('.pth')}"
    if source == "pytorchcv":  # names with batch norm were changed there: vgg16_bn is bn_vgg16 now
        return re.sub(r"^vgg(\d+b?)_bn$", r"bn_vgg\1", name)
    if source == "robust_transfer":
        return name.removesuffix(".ckpt")
    parts = IVRL.fullmatch(name)  # directory and file in one word, without the width, and without the run between them
    if parts is None:
        raise DataError(f"line {row.line}: Model Name {name!r} is not of the form ARCHITECTURE_SCHEDULE_REST")
    architecture, schedule, rest = parts.groups()
    return f"{architecture}_cifar10/{schedule}/{run}/{architecture}_8_{rest}.ckpt"


def link_of(cell: str) -> str | None:
    """Return the address of a Markdown link, None where there is none."""
    found = LINK.fullmatch(cell)
    return found[1] if found else None
