"""Images with a table of labels beside them, and what no reader takes: refused in one line that names the remedy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pictures import ENTRY, X, Y, by_content, expected, png, refused

from securitynet.data.readers import image_set

PETS = replace(ENTRY, labels=("dog", "cat", "air plane"))
NAMES = ["cat", "airplane", "dog"]
LABELS = [1, 2, 0]


def put(folder: Path, rows: slice, name: str = "{:03d}.png") -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [name.format(index) for index in range(*rows.indices(600))]
    for index, one in zip(range(*rows.indices(600)), names, strict=True):
        (folder / one).write_bytes(png(X[index]))
    return names


def table(path: Path, head: str, rows: list[str]) -> None:
    path.write_text("\n".join([head, *rows]) + "\n")


def test_metadata_beside_the_images(tmp_path: Path) -> None:
    for split, rows in (("train", slice(0, 30)), ("test", slice(30, 45))):
        names = put(tmp_path / split, rows)
        labels = [NAMES[label] for label in Y[rows]]
        table(tmp_path / split / "metadata.csv", "file_name,label", [f"{name},{label}" for name, label in zip(names, labels, strict=True)])
    images = image_set(PETS, data=tmp_path)
    assert by_content(images.train) == expected(slice(0, 30), LABELS) and by_content(images.test) == expected(slice(30, 45), LABELS)
    assert "holds text, and the class names of the dataset are not known" in refused(tmp_path)
    for split, rows in (("train", slice(0, 30)), ("test", slice(30, 45))):
        (tmp_path / split / "metadata.csv").unlink()
        lines = [json.dumps({"file_name": f"{index:03d}.png", "label": int(Y[index])}) for index in range(*rows.indices(600))]
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(lines))
    assert by_content(image_set(ENTRY, data=tmp_path).test) == expected(slice(30, 45), [0, 1, 2])


def test_a_table_above_folders_that_say_the_split(tmp_path: Path) -> None:
    put(tmp_path / "train", slice(0, 30))
    put(tmp_path / "validation", slice(30, 45))
    rows = [f"{'train' if index < 30 else 'validation'}/{index:03d}.png,{Y[index]}" for index in range(45)]
    table(tmp_path / "metadata.csv", "file_name,label", rows)
    images = image_set(ENTRY, data=tmp_path)
    assert by_content(images.train) == expected(slice(0, 30), [0, 1, 2]) and by_content(images.test) == expected(slice(30, 45), [0, 1, 2])
    assert images.divided is None and not images.notes


def test_a_competitions_folder(tmp_path: Path) -> None:
    put(tmp_path / "train", slice(0, 30))
    put(tmp_path / "test", slice(30, 45))
    table(tmp_path / "train.csv", "id,breed", [f"{index:03d},{NAMES[Y[index]]}" for index in range(30)])
    table(tmp_path / "test.csv", "id", [f"{index:03d}" for index in range(30, 45)])
    table(tmp_path / "sample_submission.csv", "id,breed", [f"{index:03d},cat" for index in range(30, 45)])
    images = image_set(PETS, data=tmp_path)
    assert images.test is None and by_content(images.train) == expected(slice(0, 30), LABELS)


@pytest.mark.parametrize("kind", ["split", "lists", "tsv", "none", "windows"])
def test_other_tables(tmp_path: Path, kind: str) -> None:
    put(tmp_path / "images", slice(0, 45))
    rows = range(45)
    if kind == "split":
        part = ["train" if index < 30 else "validation" for index in rows]
        table(tmp_path / "labels.csv", "filename,Split,class", [f"{index:03d}.png,{part[index]},{Y[index]}" for index in rows])
    elif kind == "lists":
        (tmp_path / "train.txt").write_text("".join(f"images/{index:03d}.png {Y[index]}\n" for index in range(30)))
        (tmp_path / "val.txt").write_text("".join(f"images/{index:03d}.png {Y[index]}\n" for index in range(30, 45)))
    elif kind == "tsv":
        table(tmp_path / "train.tsv", "image\tlabel", [f"{index:03d}\t{Y[index]}.0" for index in range(30)])
        table(tmp_path / "test.tsv", "image\tlabel", [f"{index:03d}\t{Y[index]}.0" for index in range(30, 45)])
    else:
        path = "/home/me/images/{:03d}.png" if kind == "none" else "images\\{:03d}.png"
        table(tmp_path / "labels.csv", "path;label", [f"{path.format(index)};{Y[index]}" for index in rows])
    if kind == "none":
        assert "45 of 45 files that it lists are not below" in refused(tmp_path)
        return
    images = image_set(ENTRY, data=tmp_path)
    assert by_content(images.train) | by_content(images.test) == expected(slice(0, 45), [0, 1, 2])
    assert (images.divided is None) == (kind != "windows")
    if kind != "windows":
        assert by_content(images.test) == expected(slice(30, 45), [0, 1, 2])


def test_tables_that_contradict(tmp_path: Path) -> None:
    put(tmp_path / "images", slice(0, 9))
    rows = [f"{index:03d}.png,{Y[index]}" for index in range(9)]
    table(tmp_path / "labels.csv", "file,label", [*rows, "gone.png,1"])
    assert "1 of 10 files that it lists are not below" in refused(tmp_path) and "(gone.png)" in refused(tmp_path)
    table(tmp_path / "labels.csv", "file,label", [*rows, "000.png,2"])
    assert "000.png has two labels, 0 and 2; keep one" in refused(tmp_path)
    table(tmp_path / "labels.csv", "file,label", [*rows[:-1], "008.png"])
    assert "some rows have fewer columns" in refused(tmp_path)
    put(tmp_path / "more" / "images", slice(9, 18), "{:03d}.png")
    put(tmp_path / "more", slice(0, 1))
    table(tmp_path / "labels.csv", "file,label", rows)
    assert "not alone (000.png)" in refused(tmp_path)
    table(tmp_path / "labels.csv", "image_number,dx", rows)
    two = replace(ENTRY, num_classes=2)
    assert "the classes may be those of the folders or of labels.csv; call its columns file_name and label" in refused(tmp_path, two)
    table(tmp_path / "labels.csv", "file,label", [f"../images/{row}" for row in rows])
    assert "are not below" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.zip", "unpack it and give the folder"),
        ("a.npz.gz", "unpack it and give the folder"),
        ("a.pkl", "a pickle may hold code and is not opened; save the arrays with numpy.savez"),
        ("a.h5", "save its arrays with numpy.savez"),
        ("a.csv", "give the folder that holds it and the images"),
        ("a.png", "give a folder of images with a folder for each class"),
        ("a.tfrecord", "export the images to class folders or WebDataset shards"),
        ("data-00000-of-00001.arrow", "give the folder that save_to_disk() wrote"),
        ("a.doc", "expected is an .npz file"),
    ],
)
def test_files_of_other_forms(tmp_path: Path, name: str, remedy: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    message = refused(tmp_path / name)
    assert remedy in message and message.endswith("docs/data.md lists the forms")


def test_folders_that_say_no_class(tmp_path: Path) -> None:
    put(tmp_path / "flat", slice(0, 9))
    put(tmp_path / "named" / "train", slice(0, 9), "cat.{}.png")
    put(tmp_path / "named" / "test", slice(9, 18), "cat.{}.png")
    for place in ("flat", "named"):
        assert "expected are IDX files, Parquet files, or train/<class>/" in refused(tmp_path / place)
    for name in NAMES:
        put(tmp_path / "outer" / "inner" / "train" / name, slice(0, 3))
    put(tmp_path / "outer" / "inner" / "test", slice(0, 3))
    images = image_set(PETS, data=tmp_path / "outer")
    assert images.test is None and "has no class folders and is left out" in images.notes[0]
