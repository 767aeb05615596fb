"""What the tests of Parquet files and of the Hub share: small random images, written in row groups."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from securitynet.data import Images
from securitynet.data.readers import image_set
from securitynet.entry import Entry
from securitynet.errors import DataError

ENTRY = Entry(id="a/b", input_size=(3, 6, 6), num_classes=3)
CIFAR = Entry(id="a/b", dataset="CIFAR-10", input_size=(3, 6, 6), num_classes=10)
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (600, 6, 6, 3), dtype=np.uint8)
Y = np.arange(600) % 3


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, rows: slice, names: list[str] | None = None, group: int = 10, **columns: Any) -> Path:
    """Rows of X and Y in row groups of ten, with the class names as the `datasets` library writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": png(image), "path": None} for image in X[rows]]
    table = pa.table({"image": cells, "label": Y[rows]} | columns)
    if names:
        kept = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": kept}})})
    pq.write_table(table, path, row_group_size=group)
    return path


def by_content(images: Images | None) -> dict[bytes, int]:
    assert images is not None
    return {np.asarray(images[index]).tobytes(): int(images.labels[index]) for index in range(len(images))}


def expected(rows: slice, labels: list[int]) -> dict[bytes, int]:
    return {X[index].tobytes(): labels[Y[index]] for index in range(*rows.indices(600))}


def refused(path: str | Path, entry: Entry = ENTRY, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        image_set(entry, data=path, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text
