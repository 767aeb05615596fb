"""Labels as text, class folders and ClassLabels: matched to the model's class names by name, or refused; never by their order alone."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import CIFAR, X, Y, by_content, expected, png, refused, write

from securitynet.data.labels import class_order
from securitynet.data.readers import image_set
from securitynet.entry import Entry
from securitynet.errors import DataError

PETS = Entry(id="a/pets", input_size=(3, 6, 6), num_classes=3, labels=("dog", "cat", "air plane"))
FIVE = Entry(id="a/five", input_size=(3, 6, 6), num_classes=5)


def folders(place: Path, names: list[str], split: str = "test") -> Path:
    for index in range(30):
        path = place / split / names[index % len(names)] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(X[index]))
    return place


def labels(place: Path, entry: Entry, count: int) -> list[int]:
    found = by_content(image_set(entry, data=place).test)
    return [found[X[index].tobytes()] for index in range(count)]


def test_folders_are_matched_to_the_names_of_the_outputs(tmp_path: Path) -> None:
    place = folders(tmp_path, ["Air_plane", "cat", "dog"])
    assert labels(place, PETS, 3) == [2, 1, 0]
    assert labels(place, replace(PETS, class_map="list", class_list=(2, 0, 1)), 3) == [0, 2, 1]
    background = replace(PETS, num_classes=4, class_map="background-first", labels=("background", "cat", "dog", "air plane"))
    assert labels(place, background, 3) == [2, 0, 1]
    assert image_set(PETS, data=place).class_names == PETS.labels
    other = replace(PETS, labels=("dog", "cat", "ship"))
    assert "classes are called Air_plane, cat, dog, those of the model dog, cat, ship" in refused(place, other)
    assert labels(place, replace(PETS, labels=("LABEL_0", "LABEL_1", "LABEL_2")), 3) == [0, 1, 2]  # no names: ImageFolder's order


def test_synonyms_of_a_datasets_classes(tmp_path: Path) -> None:
    assert labels(folders(tmp_path, ["car", "plane", "boat"]), CIFAR, 3) == [1, 0, 8]
    imagenet = Entry(id="a/b", dataset="ImageNet-1k", input_size=(3, 6, 6), num_classes=1000)
    assert class_order(["goldfish", "tench"], None, "x").mapping.tolist() == [0, 1]
    assert labels(folders(tmp_path / "in", ["n01443537_goldfish", "tench", "white shark"]), imagenet, 3) == [1, 0, 2]
    assert "classes are called" in refused(folders(tmp_path / "two", ["polecat", "Tench"]), imagenet)  # a name of two classes


@pytest.mark.parametrize("names", [["cat", "dog"], ["a", "b", "c", "d", "e", "f"]])
def test_another_number_of_unknown_names_is_an_error(tmp_path: Path, names: list[str]) -> None:
    message = refused(folders(tmp_path, names), FIVE)
    assert f"{len(names)} classes (" in message and "but the model has 5" in message and "column labels" in message
    assert f"{len(names)} classes (" in refused(write(tmp_path / "x" / "test.parquet", slice(0, 30), names), FIVE)


def test_names_that_tools_sort_in_different_ways_are_refused(tmp_path: Path) -> None:
    twelve = replace(FIVE, num_classes=12)
    assert "sort as text and others as numbers" in refused(folders(tmp_path / "a", [f"class{n}" for n in range(1, 13)]), twelve)
    assert "sort as text and others as numbers" in refused(folders(tmp_path / "b", [str(n) for n in range(1, 13)]), twelve)
    assert labels(folders(tmp_path / "c", [f"class{n:02d}" for n in range(1, 13)]), twelve, 12) == list(range(12))
    assert labels(folders(tmp_path / "d", [str(n) for n in range(12)]), twelve, 12) == list(range(12))


def test_parts_and_files_that_order_their_classes_differently(tmp_path: Path) -> None:
    three = replace(FIVE, num_classes=3)
    write(tmp_path / "train-0.parquet", slice(0, 30), ["dog", "cat", "plane"])
    write(tmp_path / "train-1.parquet", slice(30, 60), ["plane", "dog", "cat"])
    write(tmp_path / "test-0.parquet", slice(60, 90), ["cat", "plane", "dog"])
    for entry, first in ((three, [0, 1, 2]), (replace(three, labels=("cat", "plane", "dog")), [2, 0, 1]), (CIFAR, [5, 3, 0])):
        images = image_set(entry, data=tmp_path)
        dog, cat, plane = first
        assert by_content(images.train) == expected(slice(0, 30), first) | expected(slice(30, 60), [plane, dog, cat])
        assert by_content(images.test) == expected(slice(60, 90), [cat, plane, dog])
    write(tmp_path / "test-0.parquet", slice(60, 90), ["cat", "plane", "bird"])
    assert re.search(r"parquet: classes are called cat, plane, bird, those of .*parquet dog, cat, plane", refused(tmp_path, three))
    write(tmp_path / "test-0.parquet", slice(60, 90))
    assert "test-0.parquet: does not name its classes" in refused(tmp_path, CIFAR)


def test_text_labels_need_names(tmp_path: Path) -> None:
    words = np.array(["cat", "Air Plane", "dog"])[Y[:30]]
    path = write(tmp_path / "test.parquet", slice(0, 30), label=words)
    assert by_content(image_set(PETS, data=path).test) == expected(slice(0, 30), [1, 2, 0])
    assert "holds text, and the class names of the dataset are not known" in refused(path, FIVE)
    digits = write(tmp_path / "digits" / "test.parquet", slice(0, 30), label=np.array(["2", "0", "1"])[Y[:30]])
    assert by_content(image_set(FIVE, data=digits).test) == expected(slice(0, 30), [2, 0, 1])
    with pytest.raises(DataError, match="x: classes are called dog, tree, those of the model"):
        class_order(["dog", "tree"], replace_names(("dog", "cat")), "x")


def replace_names(names: tuple[str, ...]):  # type: ignore[no-untyped-def]
    from securitynet.data.request import ImageRequest

    return ImageRequest(names=names).classes


def test_class_folders_without_a_split_are_divided_by_seed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index in range(30):
        path = tmp_path / "data" / ("cat", "air plane", "dog")[Y[index]] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(X[index]))
    images, again, other = (image_set(PETS, data=tmp_path / "data", seed=seed) for seed in (0, 0, 1))
    assert by_content(images.train) | by_content(images.test) == expected(slice(0, 30), [1, 2, 0])
    assert images.train and images.test and np.bincount(images.train.labels).tolist() == [5, 5, 5]
    assert images.membership == "unknown" and images.divided == "by seed 0, half of each class"
    (note,) = images.notes
    assert "has no split: split by seed 0, half of each class, into 15 training and 15 test images" in note and note in caplog.text
    assert by_content(again.train) == by_content(images.train) != by_content(other.train)
    from securitynet.data import draw
    from securitynet.data.transform import Transform

    drawn = [draw(one, Transform((3, 6, 6)), 3) for one in (images, again, other, replace(images, divided=None))]
    assert drawn[0].notes == images.notes
    assert drawn[0].manifest == drawn[1].manifest and len({one.manifest for one in drawn}) == 3
    (tmp_path / "data" / "dog").rename(tmp_path / "data" / "wolf")
    assert "classes are called air plane, cat, wolf, those of the model" in refused(tmp_path / "data", PETS)


@pytest.mark.parametrize("membership", ["official-split", "unknown"])
def test_images_in_both_parts_are_counted_and_named(tmp_path: Path, membership: str, caplog: pytest.LogCaptureFixture) -> None:
    from securitynet.cache import ArrayCache
    from securitynet.controls.twins import without_twins
    from securitynet.data import draw
    from securitynet.data.transform import Transform

    folders(tmp_path, ["dog", "cat", "plane"], "train")
    for index, name in ((0, "dog"), (4, "cat"), (40, "plane")):
        path = tmp_path / "test" / name / f"again{index}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(png(X[index]))
    images = replace(image_set(FIVE_LESS, data=tmp_path), membership=membership)
    splits = draw(images, Transform((3, 6, 6)), 3)
    left, found = without_twins(splits, ArrayCache(None))
    (note,) = left.notes
    assert note in caplog.text and "images of the training part that stand in the test part, too: 2 equal (training: " in note
    for name in ("train/cat/04.png", "train/dog/00.png", "test/cat/again4.png", "test/dog/again0.png"):
        assert name in note
    assert left.members and splits.members and note.endswith("left out" if membership == "official-split" else "they stay in")
    assert len(splits.members) - len(left.members) == (2 if membership == "official-split" else 0)
    assert (found is None) == (membership == "unknown")


FIVE_LESS = replace(FIVE, num_classes=3)
