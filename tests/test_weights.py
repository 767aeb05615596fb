"""Reading weights: tensors come out, code never runs, damage is one line."""

from __future__ import annotations

import argparse
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from securitynet.entry import Entry
from securitynet.errors import LoadError
from securitynet.loaders._state import install, load_strictly, state_dict
from securitynet.loaders._weights import read

ENTRY = Entry(id="source/name", num_classes=10, architecture="nets:cifar_resnet")


class Evil:
    """Pickled, it makes whoever unpickles it create a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


class Whole(nn.Module):
    """A module that somebody saved whole."""


def failure(path: Path) -> str:
    with pytest.raises(LoadError) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("modern", [True, False])
def test_code_in_a_checkpoint_is_refused(tmp_path: Path, modern: bool) -> None:
    path, mark = tmp_path / "a.pth", tmp_path / "mark"
    torch.save({"state_dict": {"w": torch.ones(1)}, "x": Evil(mark)}, path, _use_new_zipfile_serialization=modern)
    text = failure(path)
    assert "holds code, not only tensors: posix.mkdir" in text and "ask the publisher for safetensors" in text
    torch.save(Whole(), path, _use_new_zipfile_serialization=modern)
    assert "Whole" in failure(path)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_plain_pickle_is_refused(tmp_path: Path, protocol: int) -> None:
    path, mark = tmp_path / "a.pth", tmp_path / "mark"
    path.write_bytes(pickle.dumps({"x": Evil(mark)}, protocol=protocol))
    assert "posix.mkdir" in failure(path)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_is_refused(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "a.pt"))
    assert "TorchScript" in failure(tmp_path / "a.pt")


@pytest.mark.parametrize("modern", [True, False])
def test_what_training_scripts_leave_behind_does_no_harm(tmp_path: Path, modern: bool) -> None:
    left = {"args": argparse.Namespace(out=Path("x")), "best": np.float64(0.9), "epoch": 3, "state_dict": {"w": torch.ones(2)}}
    torch.save(left, tmp_path / "a.pth", _use_new_zipfile_serialization=modern)
    found = read(tmp_path / "a.pth")
    assert found["epoch"] == 3 and torch.equal(found["state_dict"]["w"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
        (b"\x89HDF\r\n\x1a\n", "neither safetensors nor a PyTorch checkpoint"),
        (b"PK\x03\x04", "damaged or truncated"),
        (b"\x80\x02", "damaged or truncated"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert words in failure(tmp_path / "a.pth")


@pytest.mark.parametrize("length", [1 << 62, 1000, 2])
def test_a_safetensors_header_that_lies(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.ones(3)}, path)
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    assert "damaged safetensors" in failure(path)


def test_offsets_that_lie(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"0000")
    assert "damaged safetensors" in failure(tmp_path / "a.safetensors")


def test_a_checkpoint_that_unpacks_to_more_than_it_can_hold(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2_000_000)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as plain, zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "unpacks to" in failure(tmp_path / "b.pth")


def test_random_damage_is_always_one_line(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.pth", "b.pth", "c.safetensors")]
    state = nn.Linear(3, 3).state_dict()
    torch.save(state, paths[0])
    torch.save(state, paths[1], _use_new_zipfile_serialization=False)
    save_file(state, paths[2])
    whole, dice = [path.read_bytes() for path in paths], random.Random(0)
    refused = 0
    for turn in range(300):
        data = bytearray(whole[turn % 3])
        if turn % 2:
            del data[dice.randrange(len(data)) :]
        for _ in range(5):
            data[dice.randrange(len(data)) : 1] = bytes([dice.randrange(256)]) if data else b""
        paths[turn % 3].write_bytes(data)
        try:
            read(paths[turn % 3])
        except LoadError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 200


def entry(**columns: Any) -> Entry:
    return Entry.from_record({"id": "source/name", "num_classes": 10, **columns})


PATH = Path("weights.pth")
STATE = {"module.a.w": torch.ones(1), "module.b.w": torch.zeros(1), "other.w": torch.ones(2)}


def test_the_key_is_the_entrys() -> None:
    checkpoint = {"net": STATE, "epoch": 3}
    assert set(state_dict(checkpoint, entry(state_key="net"), PATH)) == set(STATE)
    with pytest.raises(LoadError, match="no state dict at its top; it holds net, epoch; name the key in state_key"):
        state_dict(checkpoint, entry(), PATH)
    with pytest.raises(LoadError, match="no state dict under 'model'"):
        state_dict(checkpoint, entry(state_key="model"), PATH)
    with pytest.raises(LoadError, match="a list"):
        state_dict([1], entry(), PATH, guess=True)


def test_guesses_are_said(caplog: pytest.LogCaptureFixture) -> None:
    state = {"module.a.w": torch.ones(1)}
    with caplog.at_level("INFO", logger="securitynet"):
        assert set(state_dict({"net": state, "acc": 1.0}, entry(), PATH, guess=True)) == {"a.w"}
    assert "key 'net'" in caplog.text and "'module.'" in caplog.text
    assert set(state_dict(STATE, entry(), PATH, guess=True)) == set(STATE)
    assert set(state_dict(state, entry(drop_prefixes=["b."]), PATH, guess=True)) == set(state)


def test_prefixes_select_and_vanish() -> None:
    assert set(state_dict(STATE, entry(drop_prefixes=["module."]), PATH)) == {"a.w", "b.w"}
    assert set(state_dict(STATE, entry(drop_prefixes=["module.", "a."]), PATH)) == {"w"}
    assert set(state_dict(STATE, entry(drop_prefixes=["absent."]), PATH)) == set(STATE)


def test_layout_versions_move_with_the_prefix(tmp_path: Path) -> None:
    """MNASNet refuses a state dict without its version; batch norms of before 2018 come without counters."""
    models = pytest.importorskip("torchvision").models
    network = models.mnasnet0_5(num_classes=10)
    torch.save({"model": nn.DataParallel(network).state_dict()}, tmp_path / "a.pth")
    fresh = models.mnasnet0_5(num_classes=10)
    install(fresh, tmp_path / "a.pth", entry(state_key="model", drop_prefixes=["module."]))
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    again = models.mnasnet0_5(num_classes=10)
    install(again, tmp_path / "a.safetensors", entry())
    for name, tensor in network.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor) and torch.equal(again.state_dict()[name], tensor)
    old = OrderedDict((name, tensor) for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked"))
    load_strictly(models.mnasnet0_5(num_classes=10), old, entry())


def misfit(state: dict[str, torch.Tensor]) -> str:
    network = nn.Sequential(OrderedDict(body=nn.Linear(4, 6), head=nn.Linear(6, 10)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(LoadError) as caught:
        load_strictly(network, before | state if "body.weight" not in state else state, ENTRY)
    return str(caught.value)


def test_misfits_are_named() -> None:
    head = {"head.weight": torch.ones(100, 6), "head.bias": torch.ones(100)}
    assert "the weights have 100 classes, the entry says 10" in misfit(head)
    text = misfit({"extra.a": torch.ones(1), "extra.b": torch.ones(1)})
    assert "2 unexpected: extra.a, extra.b" in text and "another architecture" in text
    assert "3 missing: body.bias, head.weight, head.bias" in misfit({"body.weight": torch.ones(6, 4)})
    assert "body.bias is [7], expected [6]" in misfit({"body.bias": torch.ones(7)})
    many = {f"layer{number}.weight": torch.ones(1) for number in range(9)}
    assert "9 unexpected: layer0.weight, layer1.weight, layer2.weight, layer3.weight, layer4.weight and 4 more" in misfit(many)


def test_a_forgotten_prefix_is_guessed_at() -> None:
    network = nn.Linear(2, 2)
    with pytest.raises(LoadError, match=r"carry the prefix 'net\.' "):
        load_strictly(network, {f"net.{name}": tensor for name, tensor in network.state_dict().items()}, ENTRY)
