"""ImageDataset: the record of an image dataset that models were trained on, a line of config `datasets`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from securitynet.entry import typed
from securitynet.errors import UsageError, unknown
from securitynet.schema import column, dtypes_of, features_of

if TYPE_CHECKING:
    import datasets

CHOICES = {
    "category": ("natural", "medical", "digit"),
    "membership": ("official-split", "index-file", "unknown"),
}


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """One image dataset: where its images are, what its classes are called, how members are known."""

    key: str = column("string", "unique name; column `dataset` of config `models`", "")
    aliases: tuple[str, ...] | None = column("list:string", "other names that mean the same; case does not matter")
    title: str | None = column("string", "name in full")
    # on the Hub
    hub_id: str | None = column("string", "dataset repo on the Hub")
    hub_config: str | None = column("string", "its configuration; null: the default")
    hub_revision: str | None = column("string", "commit that is used; null: the latest")
    train_split: str | None = column("string", "name of the training split")
    test_split: str | None = column("string", "name of the split that published accuracies are about")
    image_column: str | None = column("string", "column of the images")
    label_column: str | None = column("string", "column of the labels")
    # its classes and images
    class_names: tuple[str, ...] | None = column("list:string", "names of the classes, in the order of the labels")
    class_ids: tuple[str, ...] | None = column(
        "list:string", "names of class folders where they differ (WordNet ids, numbers), in the same order"
    )
    num_classes: int | None = column("int64", "number of classes")
    train_size: int | None = column("int64", "images of the official training split")
    test_size: int | None = column("int64", "images of the official test split")
    image_shape: tuple[int, ...] | None = column("list:int64", "channels, [depth,] height, width; null where they vary")
    category: str | None = column("string", "natural, medical or digit")
    # use
    licence: str | None = column("string", "licence of the images, SPDX where possible")
    citation: str | None = column("string", "authors, title, venue, year")
    homepage: str | None = column("string", "where its authors describe it")
    membership: str | None = column("string", "how a model's training images are known: official-split, index-file or unknown", "unknown")
    membership_note: str | None = column("string", "what that means here")
    traps: tuple[str, ...] | None = column("list:string", "what has misled users of this dataset")

    @property
    def grey(self) -> bool | None:
        """Whether images have one channel; None where it is not recorded."""
        return None if self.image_shape is None else self.image_shape[0] == 1

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ImageDataset:
        """Return the dataset of a JSON object. Raises UsageError that names the record, the column and the valid values."""
        label = f"dataset {record.get('key') or 'without a key'}"
        known = {column_.name: column_.metadata["dtype"] for column_ in fields(cls)}
        for key, value in record.items():
            if key not in known:
                raise UsageError(f"{label}: {unknown('column', key, known)}")
            if key in CHOICES and value is not None and value not in CHOICES[key]:
                raise UsageError(f"{label}: {key} {value!r} is not one of {', '.join(CHOICES[key])}")
        return cls(**{key: typed(label, key, known[key], value) for key, value in record.items()})


def features() -> datasets.Features:
    """Return the `datasets.Features` of config `datasets`."""
    return features_of(dtypes_of(ImageDataset))


@cache
def records() -> tuple[ImageDataset, ...]:
    """Return all image datasets of the catalog, sorted by key."""
    folder = resources.files("securitynet.catalog") / "datasets"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".jsonl")), key=lambda file: file.name)
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line]
    return tuple(sorted((ImageDataset.from_record(json.loads(line)) for line in lines), key=lambda record: record.key.casefold()))


@cache
def _by_name() -> dict[str, ImageDataset]:
    """Every key and alias, lower case; keys go first."""
    named = {alias.casefold(): record for record in records() for alias in record.aliases or ()}
    return named | {record.key.casefold(): record for record in records()}


def find(name: str | None) -> ImageDataset | None:
    """Return the dataset of a key or alias, whatever its case; None where there is none."""
    return _by_name().get(name.casefold()) if name else None


def resolve(name: str) -> ImageDataset:
    """Return the dataset of a key or alias, whatever its case. Raises UsageError with the nearest keys."""
    record = find(name)
    if record is None:
        raise unknown("image dataset", name, [record.key for record in records()])
    return record
