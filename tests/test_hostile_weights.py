"""Weights files that want to do harm: tensors within bounds come out of them, or one line."""

from __future__ import annotations

import collections
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import refused
from torch import nn

from securitynet.download import Files, fetch
from securitynet.entry import Entry
from securitynet.loaders import load_model
from securitynet.loaders._architectures import build_network

FACTS = {"architecture": "nets:tinyvgg", "num_classes": 10, "input_size": [1, 28, 28], "mean": [0], "std": [1]}
MARK = "hostile-mark"


def network() -> nn.Module:
    return build_network(Entry.from_record({"id": "a/b", **FACTS}))


def tensors(entries: Any, length: int = 0, head: bytes | None = None) -> bytes:
    head = json.dumps(entries, ensure_ascii=False).encode() if head is None else head
    return struct.pack("<Q", len(head)) + head + bytes(length)


def one(kind: str = "F32", shape: Any = (1,), offsets: Any = (0, 4), name: str = "w") -> dict[str, Any]:
    return {name: {"dtype": kind, "shape": list(shape), "data_offsets": list(offsets)}}


def of_network(kind: str, width: int) -> bytes:
    """All tensors of the network, in numbers of another kind."""
    entries: dict[str, Any] = {}
    place = 0
    for name, tensor in network().state_dict().items():
        entries |= one(kind, tensor.shape, (place, place := place + width * tensor.numel()), name)
    return tensors(entries, place)


SAFE: dict[str, Callable[[], bytes]] = {
    "complex": lambda: of_network("C64", 8),
    "complex-128": lambda: of_network("C128", 16),
    "float8": lambda: of_network("F8_E4M3", 1),
    "unknown-kind": lambda: of_network("Q9", 4),
    "kind-is-a-number": lambda: tensors({"w": {"dtype": 7, "shape": [1], "data_offsets": [0, 4]}}, 4),
    "entry-is-a-list": lambda: tensors({"w": [1]}, 4),
    "many-names": lambda: tensors({f"k{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(120_000)}),
    "long-name": lambda: tensors(one(name="w" * 1_000_000), 4),
    "escapes": lambda: tensors(one(name="w\x1b[2J\x1b[31m\nall is well\u202e\x00"), 4),
    "header-huge": lambda: struct.pack("<Q", 2**63) + b"{}",
    "header-longer": lambda: struct.pack("<Q", 10_000) + b"{}",
    "header-zero": lambda: struct.pack("<Q", 0) + b"{}",
    "deep-json": lambda: tensors(None, head=b"[" * 200_000),
    "deep-objects": lambda: tensors(None, head=b'{"a":' * 50_000),
    "not-json": lambda: tensors(None, head=b"{hello"),
    "not-utf8": lambda: tensors(None, head=b'{"\xff\xfe": 1}'),
    "a-list": lambda: tensors(None, head=b"[1, 2]"),
    "long-number": lambda: tensors(None, head=b'{"a": ' + b"9" * 20_000 + b"}"),
    "huge-shape": lambda: tensors(one(shape=(2**40, 2**20)), 4),
    "overflow": lambda: tensors(one(shape=(2**63, 2**63)), 4),
    "negative": lambda: tensors(one(shape=(-1,)), 4),
    "many-axes": lambda: tensors(one(shape=(1,) * 1000), 4),
    "offsets-outside": lambda: tensors(one(offsets=(0, 2**40)), 4),
    "offsets-overlap": lambda: tensors({**one(), **one(name="v")}, 4),
    "offsets-backwards": lambda: tensors(one(offsets=(4, 0)), 4),
    "holes": lambda: tensors(one(offsets=(100, 104)), 104),
    "metadata-list": lambda: tensors({"__metadata__": [1], **one()}, 4),
    "metadata-long": lambda: tensors({"__metadata__": {"a": "b" * 5_000_000}, **one()}, 4),
    "empty": lambda: b"",
    "one-byte": lambda: b"\x00",
    "cut": lambda: of_network("F32", 4)[:-1000],
    "longer": lambda: of_network("F32", 4) + bytes(1000),
    "lfs-pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n",
    "page": lambda: b"<!DOCTYPE html><html>log in\x1b[31m</html>",
}


def read(path: Path) -> str:
    return refused(lambda: load_model(path, entry=FACTS, progress=False, cache_dir=path.parent / "cache"))


@pytest.mark.parametrize("kind", SAFE)
def test_safetensors(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(SAFE[kind]())
    read(tmp_path / "a.safetensors")


class Calls:
    """A pickle that would call something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def levels(make: Callable[[Any], Any], count: int, begin: Any = "x") -> Any:
    value = begin
    for _ in range(count):
        value = make(value)
    return value


def deep_tuple(count: int) -> bytes:
    """{((((...),),),): 1} without recursion of the writer."""
    return b"\x80\x02}" + b")" + b"\x85" * count + b"K\x01s."


def tuple_bomb(count: int) -> bytes:
    """{(t, t): 1}, t = (u, u), ...: to hash it, a reader walks through 2 to the power of `count`."""
    steps = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(count))
    return b"\x80\x02})" + steps + b"K\x01s."


OBJECTS: dict[str, Callable[[], Any]] = {
    "system": lambda: {"w": Calls(os.system, f"touch {MARK}")},
    "eval": lambda: {"w": Calls(eval, f"open({MARK!r}, 'w')")},
    "exec-in-key": lambda: {Calls(exec, f"open({MARK!r}, 'w')"): 1},
    "getattr": lambda: {"w": Calls(getattr, "a", "upper")},
    "bytearray": lambda: {"w": Calls(bytearray, 2**36)},
    "expanded": lambda: {"state_dict": {"w": torch.zeros(1).expand(10**6, 10**6)}},
    "expanded-in-place": lambda: {name: torch.zeros(1).expand(tensor.shape) for name, tensor in network().state_dict().items()}
    | {"block_1.0.weight": torch.zeros(1).expand(10**5, 10**5)},
    "complex": lambda: {name: tensor.to(torch.complex64) for name, tensor in network().state_dict().items()},
    "sparse": lambda: {"w": torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (2**40,))},
    "meta": lambda: {name: tensor.to("meta") for name, tensor in network().state_dict().items()},
    "quantised": lambda: {"w": torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8)},
    "no-tensors": lambda: {"\x1b[31mred\n": 1, 5: 2},
    "a-list": lambda: [torch.zeros(2)],
    "a-tensor": lambda: torch.zeros(2),
    "a-number": lambda: 7,
    "a-module": network,
    "long-key": lambda: {"w" * 1_000_000: torch.zeros(1)},
    "many-keys": lambda: {f"k{i}": 0 for i in range(200_000)},
    "other-shape": lambda: {name: torch.zeros(3) for name in network().state_dict()},
    "not-finite-names": lambda: {float("nan"): torch.zeros(1), None: 2},
}  # fmt: skip
RAW: dict[str, bytes] = {
    "deep-tuple": deep_tuple(100_000),
    "tuple-bomb": tuple_bomb(60),
    "plain-system": pickle.dumps(Calls(os.system, f"touch {MARK}")),
    "protocol-0": f"cos\nsystem\n(S'touch {MARK}'\ntR.".encode(),
    "instance": f"(S'touch {MARK}'\nios\nsystem\n.".encode(),
    "cut": pickle.dumps({"a": 1})[:-3],
    "no-stop": b"\x80\x02}",
    "bad-memo": b"\x80\x02h\x05.",
    "empty-stack": b"\x80\x020000.",
    "long-text": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"abc",
    "many-steps": b"\x80\x02]" + b"K\x01a" * 1_200_000 + b".",
    "zeros": b"\x80\x02" + bytes(1000),
    "random": b"\x80" + bytes(range(256)) * 10,
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before-zip"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_checkpoints(tmp_path: Path, kind: str, old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(OBJECTS[kind](), tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
    read(tmp_path / "a.pth")
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "in-zip"])
@pytest.mark.parametrize("kind", RAW)
def test_pickles(tmp_path: Path, kind: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if packed:
        with zipfile.ZipFile("a.pth", "w") as archive:
            archive.writestr("a/data.pkl", RAW[kind])
            archive.writestr("a/version", "3\n")
            archive.writestr("a/byteorder", "little")
    else:
        Path("a.pth").write_bytes(RAW[kind])
    read(tmp_path / "a.pth")
    assert not (tmp_path / MARK).exists()


def test_a_checkpoint_with_strange_layout_versions(tmp_path: Path) -> None:
    state = collections.OrderedDict(network().state_dict())
    state._metadata = collections.OrderedDict({"": {"version": "\x1b[31m"}, "block_1": {"version": [1]}, 5: 6})  # type: ignore[attr-defined]
    torch.save(state, tmp_path / "a.pth")
    assert load_model(tmp_path / "a.pth", entry=FACTS, cache_dir=tmp_path / "cache").num_classes == 10


def archive_of(place: Path, members: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(place, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return place


def checkpoint_parts(place: Path) -> dict[str, bytes]:
    torch.save(network().state_dict(), place)
    with zipfile.ZipFile(place) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(place: Path, kind: str) -> None:
    parts = checkpoint_parts(place)
    top = next(iter(parts)).partition("/")[0]
    squeeze = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 9}
    if kind == "bomb":
        archive_of(place, {**parts, f"{top}/data/0": bytes(100_000_000)}, **squeeze)
    elif kind == "storage-missing":
        archive_of(place, {name: content for name, content in parts.items() if not name.endswith("/data/0")})
    elif kind == "storage-short":
        archive_of(place, {**parts, f"{top}/data/0": b"abcd"})
    elif kind == "torchscript":
        archive_of(place, {**parts, f"{top}/constants.pkl": b"\x80\x02)."})
    elif kind == "no-pickle":
        archive_of(place, {name: content for name, content in parts.items() if not name.endswith("data.pkl")})
    elif kind == "climbs-out":
        archive_of(place, {f"../../{name}": content for name, content in parts.items()})
    elif kind == "many-members":
        archive_of(place, {f"a/{number}": b"" for number in range(60_000)})
    elif kind == "bytes-turned":
        content = bytearray(place.read_bytes())
        content[60:90] = bytes(30)
        place.write_bytes(content)
    else:
        place.write_bytes(place.read_bytes()[:-200])


KINDS = ["bomb", "storage-missing", "storage-short", "torchscript", "no-pickle", "climbs-out", "many-members", "bytes-turned", "cut"]


@pytest.mark.parametrize("kind", KINDS)
def test_archives_of_checkpoints(tmp_path: Path, kind: str) -> None:
    changed(tmp_path / "a.pth", kind)
    read(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", ["pipe", "zero", "random", "socket", "circle", "folder"])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_are_no_file(tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_hostile_images import special

    monkeypatch.chdir(tmp_path)
    special(Path(name), kind)
    read(tmp_path / name)
    read(tmp_path)


def tar_of(place: Path, kind: str) -> str:
    """An archive of weights, `w.pth`, and what is wrong with it; returns its mode."""
    mode = {"xz-bomb": "w:xz", "many": "w:gz", "header-bomb": "w:xz"}.get(kind, "w")
    with tarfile.open(place, mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        info = tarfile.TarInfo("w.pth")
        if kind == "link":
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        elif kind == "device":
            info.type = tarfile.CHRTYPE
        elif kind == "pipe":
            info.type = tarfile.FIFOTYPE
        elif kind == "many":
            for number in range(40_000):
                tar.addfile(tarfile.TarInfo(f"{number}"))
        elif kind == "header-bomb":
            info.pax_headers = {"comment": "a" * 50_000_000}
        if kind == "xz-bomb":
            import io

            info.size = 100_000_000
            tar.addfile(info, io.BytesIO(bytes(info.size)))
        else:
            tar.addfile(info)
    return mode


@pytest.mark.parametrize("kind", ["link", "device", "pipe", "many", "xz-bomb", "header-bomb", "cut", "pax-size"])
def test_archives_with_a_member(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tar"
    tar_of(path, kind)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:300])
    entry = Entry.from_record({"id": "a/b", **FACTS, "archive_member": "w.pth"})
    refused(lambda: load_model(path, entry=entry, progress=False, cache_dir=tmp_path / "cache"))


def test_a_member_whose_archive_lies(tmp_path: Path) -> None:
    for number, member in enumerate(["/etc/passwd", "../w.pth", "C:\\w.pth", "", "a/../../w.pth", "w\x1b[31m.pth"]):
        path = archive_of(tmp_path / f"{number}.zip", {"w.pth": b"x"})
        entry = Entry.from_record({"id": "a/b", "archive_member": member})
        if member:
            refused(lambda path=path, entry=entry: fetch(entry, Files(tmp_path / "cache", progress=False, local=path)))  # type: ignore[misc]
