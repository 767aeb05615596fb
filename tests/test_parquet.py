"""Parquet files on disk: columns, class order, sampling that reads only a part, errors in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import CIFAR, ENTRY, X, Y, by_content, expected, png, refused, write

from securitynet.data import parquet
from securitynet.data.readers import image_set
from securitynet.errors import DataError


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00000-of-00002.parquet", slice(0, 30))
    write(tmp_path / "data" / "train-00001-of-00002.parquet", slice(30, 45))
    write(tmp_path / "data" / "test-00000-of-00001.parquet", slice(45, 60))
    images = image_set(ENTRY, data=tmp_path)
    assert by_content(images.train) == expected(slice(0, 45), [0, 1, 2])
    assert by_content(images.test) == expected(slice(45, 60), [0, 1, 2])
    only = image_set(ENTRY, data=tmp_path / "data" / "test-00000-of-00001.parquet")
    assert only.train is None and by_content(only.test) == by_content(images.test)
    assert only.test and images.test and only.test.fingerprint == images.test.fingerprint
    write(tmp_path / "data" / "test-00000-of-00001.parquet", slice(46, 61))
    changed = image_set(ENTRY, data=tmp_path)
    assert changed.test and changed.test.fingerprint != images.test.fingerprint


def test_class_names_in_another_order_are_mapped(tmp_path: Path) -> None:
    images = image_set(CIFAR, data=write(tmp_path / "train.parquet", slice(0, 30), ["Dog", "ship", "air plane"]))
    assert by_content(images.train) == expected(slice(0, 30), [5, 8, 0])
    message = refused(write(tmp_path / "train.parquet", slice(0, 30), ["dog", "ship", "tree"]), CIFAR)
    assert "classes are called dog, ship, tree, those of CIFAR-10 airplane, automobile, bird, cat, ... (10)" in message


def test_one_name_in_a_hundred_may_be_spelled_otherwise(tmp_path: Path) -> None:
    from securitynet.data.dataset import resolve
    from securitynet.data.labels import class_order

    names = list(resolve("CIFAR-100").class_names or ())
    misspelled = ["cra" if name == "crab" else name for name in names]
    assert class_order(misspelled, resolve("CIFAR-100"), "x").mapping.tolist() == list(range(100))
    swapped = [names[1], names[0], *names[2:]]
    assert class_order(swapped, resolve("CIFAR-100"), "x").mapping.tolist() == [1, 0, *range(2, 100)]
    both = [misspelled[1], misspelled[0], *misspelled[2:]]
    with pytest.raises(DataError, match="x: classes are called aquarium_fish, apple"):
        class_order(both, resolve("CIFAR-100"), "x")


def test_labels_as_text(tmp_path: Path) -> None:
    words = np.array(["truck", "Cat", "frog"])[Y[:30]]
    path = write(tmp_path / "train.parquet", slice(0, 30), label=words)
    assert by_content(image_set(CIFAR, data=path).train) == expected(slice(0, 30), [9, 3, 6])
    assert "column label holds text, and the class names of the dataset are not known" in refused(path)


def test_columns_are_told_or_asked_for(tmp_path: Path) -> None:
    cells = [png(image) for image in X[:9]]
    pq.write_table(pa.table({"picture": cells, "id": ["x"] * 9, "kind": Y[:9]}), tmp_path / "train.parquet")
    assert by_content(image_set(ENTRY, data=tmp_path).train) == expected(slice(0, 9), [0, 1, 2])
    pq.write_table(pa.table({"picture": cells, "width": [6] * 9, "kind": Y[:9]}), tmp_path / "train.parquet")
    assert "the column of labels cannot be told among picture, width, kind; call it label" in refused(tmp_path)
    pq.write_table(pa.table({"kind": Y[:9]}), tmp_path / "train.parquet")
    assert "the column of images cannot be told among kind; call it image" in refused(tmp_path)
    write(tmp_path / "train.parquet", slice(0, 3), label=pa.array([0, None, 2]))
    assert "column label has 1 empty labels; remove those rows" in refused(tmp_path)
    write(tmp_path / "train.parquet", slice(0, 3), image=[{"bytes": png(X[0]), "path": None}, {"bytes": b"x", "path": None}, None])
    train = image_set(CIFAR, data=tmp_path).train
    assert train is not None
    with pytest.raises(DataError, match=r"train.parquet, row group 0, row 1: the image cannot be read"):
        train[1]
    with pytest.raises(DataError, match="row 2: the image is null"):
        train[2]
    (tmp_path / "train.parquet").rename(tmp_path / "one.parquet")
    write(tmp_path / "two.parquet", slice(0, 3))
    assert "no Parquet file says its split" in refused(tmp_path)


def test_of_a_large_file_only_some_row_groups_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "train.parquet", slice(0, 600), group=2)
    read: list[int] = []
    original = parquet.read_group

    def counted(group: parquet.RowGroup, columns: Sequence[str]) -> pa.Table:
        read.append(group.index)
        return original(group, columns)

    monkeypatch.setattr(parquet, "read_group", counted)
    images = image_set(ENTRY, data=path, samples=10, seed=1)
    assert images.train and len(images.train) == 40 and len(set(read)) == 20  # four times the samples, in 20 of 300 groups
    content = by_content(images.train)
    assert content.items() <= expected(slice(0, 600), [0, 1, 2]).items() and len(set(read)) == 20
    again, other = (image_set(ENTRY, data=path, samples=10, seed=seed).train for seed in (1, 2))
    assert again and other and again.fingerprint == images.train.fingerprint != other.fingerprint
    assert by_content(again) == content != by_content(other)
    whole = image_set(ENTRY, data=path, samples=30).train
    assert whole is not None and len(whole) == 600
