"""Images, arrays and tables that want to do harm: nothing outside is opened, nothing is unpacked without bounds, nothing is run."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import refused
from PIL import Image

from securitynet.data.readers import image_set
from securitynet.entry import Entry

ENTRY = Entry(id="a/b", input_size=(1, 8, 8), num_classes=2)
MARK = "hostile-mark"


def png(value: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full(size, value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def read_all(path: Path) -> None:
    """Every image of a data set, as an evaluation would read it."""
    images = image_set(ENTRY, data=path, samples=None)
    for part in (images.train, images.test):
        for index in range(len(part) if part is not None else 0):
            part[index]  # type: ignore[index]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(rm -rf /) run\nshowpage\n"
PICTURES: dict[str, bytes] = {
    "eps": EPS,
    "pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/Launch/F(/bin/sh)>>>>endobj\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "xbm": b"#define a_width 8\n#define a_height 8\nstatic char a_bits[] = {0};\n",
    "msp": b"DanM" + bytes(60),
    "fits": b"SIMPLE  =                    T" + b" " * 2850,
    "psd": b"8BPS\x00\x01" + bytes(40),
    "ico": b"\x00\x00\x01\x00\x01\x00\x08\x08\x00\x00\x01\x00\x20\x00\x28\x01\x00\x00\x16\x00\x00\x00" + bytes(200),
    "pickle": pickle.dumps({"x": 1}),
    "script": b"#!/bin/sh\ntouch hostile-mark\n",
    "empty": b"",
    "zeros": bytes(5000),
    "cut": png()[:40],
    "png-bomb": png_of(100_000, 100_000, zlib.compress(bytes(1_000_000))),
    "png-wide": png_of(2**31 - 1, 1, zlib.compress(bytes(100))),
    "png-no-size": png_of(0, 0, zlib.compress(b"")),
    "png-short": png_of(4000, 4000, zlib.compress(bytes(10))),
    "png-text-bomb": png_of(8, 8, zlib.compress(bytes(72)), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))),
    "png-profile-bomb": png_of(8, 8, b"", chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))),
    "gif-bomb": b"GIF89a" + struct.pack("<HHBBBc4HB", 65535, 65535, 0, 0, 0, b"\x2c", 0, 0, 65535, 65535, 0) + b"\x02\x00;",
    "bmp-bomb": b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "bmp-negative": b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, -8, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    "ppm-bomb": b"P6 99999 99999 255\n" + bytes(100),
    "ppm-endless-number": b"P6 " + b"9" * 100_000 + b" 1 255\n",
    "tiff-circle": b"II*\x00\x08\x00\x00\x00" + b"\x00\x00" + b"\x08\x00\x00\x00",
    "tiff-bomb": b"II*\x00\x08\x00\x00\x00\x03\x00" + struct.pack("<HHII", 256, 4, 1, 90_000) + struct.pack("<HHII", 257, 4, 1, 90_000)
    + struct.pack("<HHII", 259, 3, 1, 1) + bytes(4),
    "webp-broken": b"RIFF\x24\x00\x00\x00WEBPVP8X" + bytes(30),
    "jpeg-cut": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03",
    "16-bit": None,  # type: ignore[dict-item]
}  # fmt: skip


def folder(place: Path, name: str, content: bytes) -> Path:
    """An image folder of two classes, one picture of which is the hostile one."""
    for part in ("train", "test"):
        for label in ("0", "1"):
            (place / part / label).mkdir(parents=True, exist_ok=True)
            (place / part / label / "a.png").write_bytes(png(int(label)))
    (place / "train" / "0" / name).write_bytes(content)
    return place


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_pictures(tmp_path: Path, kind: str, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = PICTURES[kind]
    if content is None:
        buffer = io.BytesIO()
        Image.fromarray(np.zeros((8, 8), np.uint16)).save(buffer, "PNG")
        content = buffer.getvalue()
    started: list[str] = []
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *arguments, **_: started.append(str(arguments)))
    text = refused(lambda: read_all(folder(tmp_path / "in", f"b.{ending}", content)))
    assert f"b.{ending}" in text and not started and not (tmp_path / MARK).exists()


@pytest.mark.parametrize("kind", ["eps", "png-bomb", "cut", "script"])
def test_pictures_in_a_table(tmp_path: Path, kind: str) -> None:
    write(tmp_path, [png(), PICTURES[kind]])
    assert "row 1: the image cannot be read" in refused(lambda: read_all(tmp_path))


def special(place: Path, kind: str) -> None:
    """Something at a place that is no file."""
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(place))
    elif kind in ("zero", "random", "full"):
        place.symlink_to(f"/dev/{kind}")
    elif kind == "folder":
        place.mkdir()
        (place / "x").write_bytes(b"")
    else:
        place.symlink_to(place.name)


SPECIAL = ["pipe", "socket", "zero", "random", "circle"]


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_in_an_image_folder(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path / "in", "b.png", png())
    monkeypatch.chdir(place / "test" / "1")  # the name of a socket is short
    special(Path("z.png"), kind)
    assert "z.png" in refused(lambda: read_all(place))


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", ["images.npz", "test.parquet", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"])
def test_what_is_no_file_in_place_of_data(tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    special(Path(name), kind)
    for data in (tmp_path, tmp_path / name):
        refused(lambda data=data: read_all(data))  # type: ignore[misc]


def test_folders_in_a_circle_end(tmp_path: Path) -> None:
    place = folder(tmp_path / "in", "b.png", png())
    for name in ("again", "more"):
        (place / "train" / "0" / name).symlink_to(place / "train" / "0")
    images = image_set(ENTRY, data=place)
    assert images.train is not None and len(images.train) == 3


def test_a_thousand_folders_in_one_another_end(tmp_path: Path) -> None:
    place = folder(tmp_path / "in", "b.png", png())
    deep = str(place / "train" / "0")
    for _ in range(1500):
        deep += "/d"
        os.mkdir(deep)
    try:
        images = image_set(ENTRY, data=place)
        assert images.train is not None and len(images.train) == 3
    finally:  # deeper than what clears temporary folders can go
        while deep.endswith("/d"):
            os.rmdir(deep)
            deep = deep.removesuffix("/d")


@pytest.mark.parametrize("name", ["\x1b[31mred.png", "a\nb.png", "\u202egnp.exe.png", "x" * 240 + ".png", "\udcff.png"])
def test_names_of_files(tmp_path: Path, name: str) -> None:
    refused(lambda: read_all(folder(tmp_path / "in", name, b"no picture")))


def write(place: Path, cells: list[Any], labels: Any = None, metadata: Any = None, **options: Any) -> Path:
    """A table with a column of images and one of labels."""
    place.mkdir(parents=True, exist_ok=True)
    rows = [cell if isinstance(cell, dict) else {"bytes": cell, "path": None} for cell in cells]
    table = pa.table({"image": rows, "label": labels if labels is not None else [0] * len(rows)})
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, place / "test.parquet", **options)
    return place / "test.parquet"


PATHS = [
    ("../outside.png", "outside"),
    ("{outside}", "outside"),
    ("/etc/passwd", "outside"),
    ("sub/../../outside.png", "outside"),
    ("link.png", "outside"),
    ("linked/outside.png", "outside"),
    (".", "outside"),
    ("/proc/self/environ", "outside"),
    ("/dev/zero", "outside"),
    ("http://127.0.0.1:9/a.png", "is an address"),
    ("https://example.org/a.png", "is an address"),
    ("file:///etc/passwd", "is an address"),
    ("hf://datasets/a/b/c.png", "is an address"),
    ("s3://bucket/key", "is an address"),
    ("a\0b.png", "outside"),
    ("x" * 5000, "outside|cannot be read"),
    ("pipe.png", "a named pipe"),
    ("missing.png", "cannot be read"),
]


@pytest.mark.parametrize(("path", "words"), PATHS)
@pytest.mark.parametrize("text", [False, True])
def test_paths_in_a_table(tmp_path: Path, path: str, words: str, text: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as the path of an image, nor as text in place of one."""
    import re

    outside, inside = tmp_path / "outside.png", tmp_path / "in"
    outside.write_bytes(png())
    (inside / "sub").mkdir(parents=True)
    (inside / "link.png").symlink_to(outside)
    (inside / "linked").symlink_to(tmp_path)
    os.mkfifo(inside / "pipe.png")
    path = path.replace("{outside}", str(outside))
    if text:
        features = {"info": {"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}}}
        table = pa.table({"image": [path] * 4, "label": [0, 1, 0, 1]}).replace_schema_metadata({"huggingface": json.dumps(features)})
        pq.write_table(table, inside / "test.parquet")
    else:
        write(inside, [{"bytes": None, "path": path}] * 4)
    opened: list[Any] = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda file, **options: opened.append(file) or original(file, **options))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("an address was asked"))
    assert re.search(words, refused(lambda: read_all(inside))) and not opened


def test_a_path_below_the_table_is_followed(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").write_bytes(png(7))
    write(tmp_path, [{"bytes": None, "path": "sub/a.png"}, {"bytes": png(7), "path": "/etc/passwd"}], [0, 1])
    images = image_set(ENTRY, data=tmp_path)
    assert images.test is not None and [np.asarray(images.test[index]).max() for index in (0, 1)] == [7, 7]


def damaged(path: Path, seed: int) -> Path:
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(4, len(content) - 4, 20):
        content[place] = int(rng.integers(256))
    path.write_bytes(content)
    return path


def repeated(place: Path, stored: bool) -> None:
    """Twenty thousand million bytes in a file of some thousand: one value, named in every row."""
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array([bytes(4_000_000)], pa.binary()))
    pq.write_table(pa.table({"image": cells, "label": [0] * 5000}), place / "test.parquet", compression="zstd", store_schema=stored)


TABLES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda p: (p / "test.parquet").write_bytes(b""),
    "not-parquet": lambda p: (p / "test.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1"),
    "footer-length": lambda p: (p / "test.parquet").write_bytes(b"PAR1" + bytes(100) + struct.pack("<I", 2**31 - 1) + b"PAR1"),
    "cut": lambda p: (q := write(p, [png()] * 4)).write_bytes(q.read_bytes()[:-40]),
    "deep-metadata": lambda p: write(p, [png()] * 4, metadata="[" * 100_000),
    "metadata-list": lambda p: write(p, [png()] * 4, metadata="[1]"),
    "metadata-not-json": lambda p: write(p, [png()] * 4, metadata="{"),
    "images-null": lambda p: write(p, [{"bytes": None, "path": None}] * 4),
    "images-empty": lambda p: write(p, [b""] * 4),
    "labels-null": lambda p: write(p, [png()] * 4, [0, None, 1, 0]),
    "labels-far": lambda p: write(p, [png()] * 4, pa.array([0, 1, 2, 2**63], pa.uint64())),
    "labels-float": lambda p: write(p, [png()] * 4, [0.5, 1.5, float("nan"), 1e300]),
    "labels-bytes": lambda p: write(p, [png()] * 4, [b"\xff", b"a", b"b", b"c"]),
    "labels-lists": lambda p: write(p, [png()] * 4, [[0], [1], [], [2]]),
    "labels-text": lambda p: write(p, [png()] * 4, ["\x1b[31m" * 1000, "b", "c", "d"]),
    "no-labels": lambda p: pq.write_table(pa.table({"image": [png()] * 4}), p / "test.parquet"),
    "no-images": lambda p: pq.write_table(pa.table({"label": [0, 1]}), p / "test.parquet"),
    "many-columns": lambda p: pq.write_table(pa.table({f"c{i}\x1b": [0] for i in range(20_000)}), p / "test.parquet"),
    "long-column-name": lambda p: pq.write_table(pa.table({"c" * 1_000_000: [b"a"], "d" * 1_000_000: [b"a"]}), p / "test.parquet"),
    "image-is-number": lambda p: pq.write_table(
        pa.table({"image": [{"bytes": 5, "path": "a"}] * 4, "label": [0] * 4}), p / "test.parquet"
    ),
    "dictionary-bomb": lambda p: repeated(p, stored=False),
    "dictionary-kept": lambda p: repeated(p, stored=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_tables(tmp_path: Path, kind: str) -> None:
    TABLES[kind](tmp_path)
    text = refused(lambda: read_all(tmp_path) if kind != "labels-far" else _drawn(tmp_path))
    assert "parquet" in text or "labels" in text or kind == "image-is-number"


def _drawn(path: Path) -> None:
    from securitynet.data import draw
    from securitynet.data.transform import Transform

    draw(image_set(ENTRY, data=path), Transform.of(ENTRY), 2)


@pytest.mark.parametrize("seed", range(25))
def test_damaged_tables(tmp_path: Path, seed: int) -> None:
    """Bits that turned over: read as before, or refused."""
    from securitynet.errors import SecurityNetError

    path = damaged(write(tmp_path, [png(value) for value in range(40)], [0, 1] * 20, metadata=json.dumps({"info": {}})), seed)
    try:
        read_all(path)
    except SecurityNetError:
        refused(lambda: read_all(path))


def npy(shape: tuple[int, ...], dtype: str, data: bytes = b"", version: int = 1) -> bytes:
    head = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(head)) + head + data


class Evil:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARK}",)


ARRAYS: dict[str, dict[str, bytes]] = {
    "object": {"x_test.npy": npy((1,), "'|O'", pickle.dumps(Evil())), "y_test.npy": npy((1,), "'<i8'", bytes(8))},
    "huge-shape": {"x_test.npy": npy((10**6, 1000, 1000), "'|u1'"), "y_test.npy": npy((10**6,), "'<i8'")},
    "overflow": {"x_test.npy": npy((2**40, 2**40, 2**40), "'|u1'"), "y_test.npy": npy((1,), "'<i8'", bytes(8))},
    "negative": {"x_test.npy": npy((-1, 8, 8), "'|u1'"), "y_test.npy": npy((1,), "'<i8'", bytes(8))},
    "no-shape": {"x_test.npy": npy((), "'|u1'", b"a"), "y_test.npy": npy((), "'<i8'", bytes(8))},
    "deep-header": {"x_test.npy": npy((1,), "[" * 4000 + "]" * 4000), "y_test.npy": npy((1,), "'<i8'", bytes(8))},
    "code-in-header": {"x_test.npy": npy((1,), "__import__('os').system('touch hostile-mark')"), "y_test.npy": b""},
    "long-strings": {"x_test.npy": npy((1,), "'<U500000000'"), "y_test.npy": npy((1,), "'<i8'", bytes(8))},
    "records": {"x_test.npy": npy((1,), "[('a', '<f8'), ('b', '|O')]"), "y_test.npy": npy((1,), "'<i8'", bytes(8))},
    "complex": {"x_test.npy": npy((1, 8, 8), "'<c16'", bytes(1024)), "y_test.npy": npy((1,), "'<i8'", bytes(8))},
    "long-header": {"x_test.npy": npy((1,), "'|u1'" + " " * 60_000, b"a"), "y_test.npy": b""},
    "not-an-array": {"x_test.npy": b"hello", "y_test.npy": b"hello"},
    "empty-members": {"x_test.npy": b"", "y_test.npy": b""},
    "future": {"x_test.npy": npy((1,), "'|u1'", b"a", 9), "y_test.npy": b""},
    "nan-labels": {"x_test.npy": npy((1, 8, 8), "'|u1'", bytes(64)), "y_test.npy": npy((1,), "'<f8'", b"\xff" * 8)},
    "other-names": {"\x1b[31m" * 500 + ".npy": npy((1,), "'|u1'", b"a")},
    "many-names": {f"a{i}.npy": b"" for i in range(20_000)},
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("images.npz", "w") as archive:
        for name, content in ARRAYS[kind].items():
            archive.writestr(name, content)
    refused(lambda: read_all(tmp_path / "images.npz"))
    assert not (tmp_path / MARK).exists()


def test_an_archive_of_arrays_that_grows(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("x_test.npy", npy((300_000, 32, 32), "'|u1'", bytes(300_000 * 1024)))
        archive.writestr("y_test.npy", npy((300_000,), "'|u1'", bytes(300_000)))
    assert "far more bytes" in refused(lambda: read_all(tmp_path / "images.npz"))


def test_archives_that_are_damaged(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", x_test=np.zeros((4, 8, 8), np.uint8), y_test=np.zeros(4, np.int64))
    content = (tmp_path / "whole.npz").read_bytes()
    locked = bytearray(content)
    locked[content.index(b"PK\x01\x02") + 8] |= 1
    locked[6] |= 1
    method = bytearray(content)
    method[content.index(b"PK\x01\x02") + 10] = 99
    for number, damage in enumerate(
        [content[:-30], content[50:], bytes(locked), bytes(method), b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" * 20]
    ):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(damage)
        refused(lambda path=path: read_all(path))  # type: ignore[misc]


def idx(shape: tuple[int, ...], data: bytes, kind: int = 8) -> bytes:
    return struct.pack(">HBB", 0, kind, len(shape)) + struct.pack(f">{len(shape)}I", *shape) + data


IDX: dict[str, bytes] = {
    "huge": gzip.compress(idx((60_000, 1000, 1000), bytes(1000))),
    "bomb": gzip.compress(idx((200_000, 32, 32), bytes(200_000 * 1024)), 9),
    "more-than-stated": gzip.compress(idx((1, 8, 8), bytes(50_000_000)), 9),
    "many-axes": gzip.compress(struct.pack(">HBB", 0, 8, 255) + bytes(1020)),
    "no-axes": gzip.compress(struct.pack(">HBB", 0, 8, 0) + b"a"),
    "doubles": gzip.compress(idx((1, 8, 8), bytes(512), 14)),
    "cut": gzip.compress(idx((4, 8, 8), bytes(256)))[:-20],
    "not-gzip": b"hello",
    "empty": b"",
    "zero-sides": gzip.compress(idx((0, 4_000_000_000, 4_000_000_000), b"")),
}


@pytest.mark.parametrize("kind", IDX)
def test_idx_files(tmp_path: Path, kind: str) -> None:
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(IDX[kind])
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx((4,), bytes(4))))
    refused(lambda: read_all(tmp_path))
