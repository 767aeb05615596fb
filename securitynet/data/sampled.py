"""Some rows of a large part on the Hub, drawn by seed, fetched once and kept as a Parquet file in the cache."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securitynet.cache import digest, replacing
from securitynet.data.columns import class_names, columns_of
from securitynet.data.encoded import decode
from securitynet.data.hubcard import quiet
from securitynet.data.parquet import MANY_GROUPS, open_parquet
from securitynet.data.request import ImageRequest
from securitynet.download.hashes import digests_of
from securitynet.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from securitynet.data.hub import HubDataset

log = logging.getLogger(__name__)
FEW_FILES = 16
BUFFER = 1000
MOST_BYTES = 256 << 20  # of one image


def sample(source: HubDataset, sha: str, split: str, files: Sequence[str], request: ImageRequest) -> Path:
    """Return a local Parquet file with rows of a split drawn by seed: all, where `request.samples` is None.

    Of Parquet files, row groups are drawn (see parquet.drawn); of other formats, the stream is shuffled through a buffer.
    Raises DataError where it is not in the cache and the run is offline.
    """
    key = digest(source.id, source.config, sha, split, request.samples, request.seed)
    kept = (request.cache or Path()) / "images" / f"{key}.parquet"
    if _is_whole(kept):
        return kept
    if request.offline:
        raise DataError(f"{source}: this sample of {split} is not in the cache, and this run is offline; run once without --offline")
    log.info("%s: fetching a sample of %s (%s rows wanted)", source, split, request.samples or "all")
    is_parquet = all(file.endswith(".parquet") for file in files)
    tables = _groups(source, sha, files, request) if is_parquet else _stream(source, sha, split, request)
    with replacing(kept) as part:
        _write(part, tables)
        _hash_file(kept).write_text(digests_of(part)["sha256"], encoding="ascii")
    return kept


def _is_whole(kept: Path) -> bool:
    """Say whether a sample lies in the cache as it was written; one that does not is made again."""
    noted = _hash_file(kept)
    return kept.is_file() and (not noted.is_file() or digests_of(kept)["sha256"] == noted.read_text(encoding="ascii"))


def _hash_file(kept: Path) -> Path:
    return kept.with_suffix(".sha256")


def _write(path: Path, tables: Iterator[pa.Table]) -> None:
    import pyarrow.parquet as pq

    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first, row_group_size=len(first))
        for table in tables:
            writer.write_table(table, row_group_size=len(table))


def open_remote(source: HubDataset, sha: str, file: str) -> Any:
    """Return a Parquet file on the Hub, of which only what is asked for is sent."""
    from huggingface_hub import HfFileSystem

    handle = HfFileSystem().open(f"datasets/{source.id}@{sha}/{file}", "rb", cache_type="none")
    return open_parquet(handle, f"{source}: {file}")


def _groups(source: HubDataset, sha: str, files: Sequence[str], request: ImageRequest) -> Iterator[pa.Table]:
    """Row groups drawn by seed, from files drawn by seed: enough for the samples, and from many places."""
    samples = request.samples or 0
    rng = request.generator("files", sha)
    opened: list[Any] = []
    groups: list[tuple[Any, int, int]] = []
    rows = 0
    for place in rng.permutation(len(files)):
        if len(opened) >= FEW_FILES and rows >= 2 * samples:
            break
        opened.append(open_remote(source, sha, files[place]))
        footer = opened[-1].metadata
        groups += [(opened[-1], index, footer.row_group(index).num_rows) for index in range(footer.num_row_groups)]
        rows += footer.num_rows
    columns = columns_of(opened[0].schema_arrow, request.record, str(source))
    taken = 0
    for count, place in enumerate(rng.permutation(len(groups))):
        if taken >= samples and (count >= MANY_GROUPS or taken >= 4 * samples):
            break
        file, index, length = groups[place]
        taken += length
        yield file.read_row_group(index, columns=[columns.image, columns.label])


def _stream(source: HubDataset, sha: str, split: str, request: ImageRequest) -> Iterator[pa.Table]:
    """Rows of another format, shuffled by seed, with the images as PNG."""
    import datasets
    import pyarrow as pa

    quiet(datasets.config)
    stream = datasets.load_dataset(source.id, source.config, revision=sha, split=split, streaming=True)
    features = stream.features or datasets.Features()
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = list(class_names(features)) or [name for name in features if name == "label"]
    stream = stream.decode(False)  # the library would open any path, in any format
    if len(images) != 1 or len(labels) != 1:
        raise DataError(f"{source}: images and labels cannot be told among {', '.join(features)}; use Parquet, or give --data PATH")
    if request.samples is not None:
        stream = stream.shuffle(seed=request.seed, buffer_size=BUFFER).take(request.samples)
    kept = {images[0]: {"_type": "Image"}, labels[0]: {"_type": "ClassLabel", "names": class_names(features).get(labels[0])}}
    metadata = {b"huggingface": json.dumps({"info": {"features": kept}}).encode()}
    for rows in stream.iter(batch_size=100):
        cells = [{"bytes": _png(decode(str(source), _bytes(source, sha, cell))), "path": None} for cell in rows[images[0]]]
        numbers = np.asarray(rows[labels[0]], dtype=np.int64)
        yield pa.table({images[0]: cells, labels[0]: numbers}).replace_schema_metadata(metadata)


def _bytes(source: HubDataset, sha: str, cell: Any) -> bytes:
    """The content of an image that a row holds, or names among the files of its own repo. Raises DataError."""
    from huggingface_hub import HfFileSystem

    data, place = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
    if isinstance(data, bytes):
        return data
    if not isinstance(place, str) or not place.startswith(f"hf://datasets/{source.id}@{sha}/") or ".." in place.split("/"):
        raise DataError(f"{source}: an image is {str(place)[:80]}, which is no file of the repo; it is not opened")
    with HfFileSystem().open(place.removeprefix("hf://"), "rb") as opened:
        content: bytes = opened.read(MOST_BYTES)
    return content


def _png(picture: Any) -> bytes:
    """The image as PNG, turned as its camera says, which is what `datasets` gives too."""
    from PIL import ImageOps

    buffer = io.BytesIO()
    ImageOps.exif_transpose(picture).save(buffer, "PNG")
    return buffer.getvalue()
