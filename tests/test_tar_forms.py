"""WebDataset shards, as its own writer's layout is: one key after the other, an image and a label each."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import CIFAR, ENTRY, X, Y, by_content, expected, png, refused

from securitynet.data.readers import image_set
from securitynet.entry import Entry

PETS = Entry(id="a/pets", input_size=(3, 6, 6), num_classes=3, labels=("dog", "cat", "air plane"))


def shard(path: Path, rows: slice, label: Any, ending: str = "cls", folder: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for index in range(*rows.indices(600)):
            for name, data in ((f"{index:06d}.png", png(X[index])), (f"{index:06d}.{ending}", label(index))):
                info = tarfile.TarInfo(folder + name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def number(index: int) -> bytes:
    return str(Y[index]).encode()


def word(index: int) -> bytes:
    return (b"dog", b"cat\n", b"airplane")[Y[index]]


def as_json(index: int) -> bytes:
    return json.dumps({"label": int(Y[index]), "width": 6}).encode()


@pytest.mark.parametrize(("ending", "label"), [("cls", number), ("json", as_json), ("txt", number)])
def test_numbers(tmp_path: Path, ending: str, label: Any) -> None:
    for place in range(3):
        shard(tmp_path / "wds" / f"train-{place:06d}.tar", slice(10 * place, 10 * place + 10), label, ending)
    shard(tmp_path / "wds" / "val-000000.tar", slice(30, 45), label, ending, "deep/er/")
    everything = image_set(ENTRY, data=tmp_path / "wds")
    assert by_content(everything.train) == expected(slice(0, 30), [0, 1, 2])
    assert by_content(everything.test) == expected(slice(30, 45), [0, 1, 2])
    braces = image_set(ENTRY, data=f"{tmp_path}/wds/train-{{000000..000001}}.tar")
    assert by_content(braces.train) == expected(slice(0, 20), [0, 1, 2]) and braces.test is None
    named = image_set(ENTRY, data=f"{tmp_path}/wds/{{train,val}}-{{000000..000000}}.tar")
    assert by_content(named.train) == expected(slice(0, 10), [0, 1, 2]) and by_content(named.test) == by_content(everything.test)
    globbed = image_set(ENTRY, data=f"{tmp_path}/wds/train-*.tar")
    assert globbed.train and everything.train and globbed.train.fingerprint == everything.train.fingerprint
    one = image_set(ENTRY, data=tmp_path / "wds" / "val-000000.tar")
    assert by_content(one.test) == by_content(everything.test)
    plain = shard(tmp_path / "shard-0.tar", slice(0, 9), label, ending)
    assert by_content(image_set(ENTRY, data=plain).test) == expected(slice(0, 9), [0, 1, 2])


def test_names(tmp_path: Path) -> None:
    path = shard(tmp_path / "test-0.tar", slice(0, 9), word, "txt")
    assert by_content(image_set(PETS, data=path).test) == expected(slice(0, 9), [0, 1, 2])
    assert by_content(image_set(CIFAR, data=path).test) == expected(slice(0, 9), [5, 3, 0])
    assert "its labels holds text, and the class names of the dataset are not known" in refused(path)
    assert "classes are called airplane, cat, dog, those of the model dog, cat, ship" in refused(
        path, replace(PETS, labels=("dog", "cat", "ship"))
    )
    numbers = shard(tmp_path / "n" / "test-0.tar", slice(0, 9), number)
    (tmp_path / "n" / "classnames.txt").write_text("cat\nairplane\ndog\n")
    assert by_content(image_set(PETS, data=numbers).test) == expected(slice(0, 9), [1, 2, 0])


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = shard(tmp_path / "test-0.tar", slice(0, 9), number)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "test-0.tar" in refused(path)
    path.write_bytes(b"no tar" * 400)
    assert "not a readable tar archive" in refused(path)
    assert "decompress it first" in refused_gz(tmp_path, whole)
    assert "has no label; expected is one of .cls, .txt, .json" in refused(shard(tmp_path / "a.tar", slice(0, 3), number, "seg"))
    assert "its label is null" in refused(shard(tmp_path / "b.tar", slice(0, 3), lambda _: b'{"caption": "a"}', "json"))
    assert "some labels are numbers and others text" in refused(shard(tmp_path / "c.tar", slice(0, 3), lambda n: [b"1", b"cat", b"2"][n]))
    assert "no such file (1 of 2:" in refused(f"{tmp_path}/{{a,zz}}.tar")
    assert "no such file" in refused(f"{tmp_path}/nothing-*.tar")


def refused_gz(folder: Path, whole: bytes) -> str:
    import gzip

    (folder / "x.tar.gz").write_bytes(gzip.compress(whole))
    return refused(folder / "x.tar.gz")


def test_images_are_read_where_they_lie(tmp_path: Path) -> None:
    path = shard(tmp_path / "test-0.tar", slice(0, 9), number)
    images = image_set(ENTRY, data=path).test
    assert images is not None
    for index in (8, 0, 4, 4):
        assert np.array_equal(np.asarray(images[index]), X[index])
