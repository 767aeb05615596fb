"""Which columns of a Parquet file hold the images and the labels, and what the classes are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from securitynet.data.dataset import ImageDataset
from securitynet.errors import DataError
from securitynet.foreign import json_object

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

LABELS = ("label", "labels", "fine_label", "class", "target", "y")


@dataclass(frozen=True)
class Columns:
    """The column of images, the column of labels, and the class names that the file carries (None: none)."""

    image: str
    label: str
    names: tuple[str, ...] | None


def columns_of(schema: pa.Schema, record: ImageDataset | None, what: str) -> Columns:
    """Return the columns of a file: the record's where it has them, else the only ones that can be meant. Raises DataError."""
    features = _features(schema, what)
    images = [field.name for field in schema if _is_image(field, features)]
    labels = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    labels = labels or [name for name in LABELS if name in schema.names][:1]
    labels = labels or [field.name for field in schema if _is_integer(field)]
    image = _one("images", record.image_column if record else None, images, schema, what)
    label = _one("labels", record.label_column if record else None, labels, schema, what)
    names = features.get(label, {}).get("names")
    return Columns(image, label, tuple(map(str, names)) if isinstance(names, list) else None)


def _one(kind: str, recorded: str | None, candidates: list[str], schema: pa.Schema, what: str) -> str:
    if recorded in schema.names:
        return str(recorded)
    usual = {"images": "image", "labels": "label"}[kind]
    if usual in candidates:
        return usual
    if len(candidates) != 1:
        raise DataError(f"{what}: the column of {kind} cannot be told among {', '.join(schema.names[:20])}; call it {usual}")
    return candidates[0]


def _features(schema: pa.Schema, what: str) -> dict[str, dict[str, Any]]:
    """What the `datasets` library wrote about the columns. Raises DataError."""
    text = (schema.metadata or {}).get(b"huggingface")
    info = json_object(text, f"{what}: its metadata", DataError).get("info") if text else None
    features = info.get("features") if isinstance(info, dict) else None
    listed = features if isinstance(features, dict) else {}
    return {name: feature for name, feature in listed.items() if isinstance(feature, dict) and name in schema.names}


def _is_image(field: pa.Field, features: dict[str, dict[str, Any]]) -> bool:
    import pyarrow as pa

    if features.get(field.name, {}).get("_type") == "Image":
        return True
    is_bytes = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    return is_bytes or (pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)


def _is_integer(field: pa.Field) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(field.type))


def class_names(features: datasets.Features | None) -> dict[str, list[str]]:
    """Return the class names by column of label."""
    from datasets import ClassLabel

    return {name: list(feature.names) for name, feature in (features or {}).items() if isinstance(feature, ClassLabel)}
