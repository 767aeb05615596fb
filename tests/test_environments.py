"""Libraries with an environment of their own: a process there builds the network from the user's file and serves it to an evaluation.

Small stand-ins have the names and the constructors of the libraries; what is started is this Python, which finds them first.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import securitynet
from securitynet import catalog, loaders
from securitynet.cli import main
from securitynet.download import Files
from securitynet.environments import REQUIREMENTS, create, interpreter, place_of
from securitynet.errors import EndpointError, LoadError, UsageError
from securitynet.loaders import load_model

FACE = """
from torch import nn
class InceptionResnetV1(nn.Sequential):
    def __init__(self, classify, num_classes):
        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""
XRV = """
from torch import nn
class Block(nn.Sequential):
    pass
class DenseNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.features = Block(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(4, num_classes)
        self.register_buffer("op_threshs", None)
        self.tags = set()
    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))
"""
ENTRY, XRAY = "facenet_pytorch/vggface2", "torchxrayvision/nih"
SMALL = {"input_size": [3, 12, 12], "num_classes": 5}


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "library"
    (folder / "torchxrayvision").mkdir(parents=True)
    (folder / "facenet_pytorch.py").write_text(FACE)
    (folder / "torchxrayvision" / "__init__.py").write_text("")
    (folder / "torchxrayvision" / "models.py").write_text(XRV)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    return folder


def face(folder: Path) -> tuple[nn.Module, Path]:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    torch.save(network.state_dict(), folder / "face.pt")
    return network.eval(), folder / "face.pt"


def record(id: str, **columns: Any) -> dict[str, Any]:
    return catalog.entry(id).to_record() | columns


def test_outputs_and_gradients_are_the_networks(libraries: Path, tmp_path: Path) -> None:
    network, file = face(tmp_path)
    target = load_model(file, entry=record(ENTRY, **SMALL), python=sys.executable, cache_dir=tmp_path / "cache")
    assert target.gives == "gradients" and target.entry.id == ENTRY and target.entry.loader == "environment"
    pixels = torch.rand(70, 3, 12, 12)
    found, expected = (pixels.clone().requires_grad_(True) for _ in range(2))
    ours, theirs = target.module(found), network((expected * 255 - 127.5) / 128)
    torch.testing.assert_close(ours, theirs)
    for outputs in (ours, theirs):
        nn.functional.cross_entropy(outputs, torch.zeros(70, dtype=torch.long)).backward()
    torch.testing.assert_close(found.grad, expected.grad)
    assert len(target.weights_sha256) == 64 and target.meter.bill.images == 140


def test_the_process_ends_with_the_target_and_its_end_is_named(libraries: Path, tmp_path: Path) -> None:
    def alive(number: int) -> bool:
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return False
        return True

    _, file = face(tmp_path)
    numbers = []
    for killed in (False, True):
        target = load_model(file, entry=record(ENTRY, **SMALL), python=sys.executable, cache_dir=tmp_path / "cache")
        process = target.module.client.source.call.process  # type: ignore[union-attr]
        numbers.append(process._child.pid)
        assert process.ended is None
        if killed:
            os.kill(process._child.pid, signal.SIGKILL)
            start = time.monotonic()
            with pytest.raises(EndpointError, match=r"vggface2: its process ended \(signal 9\)"):
                target.module(torch.rand(1, 3, 12, 12))
            assert time.monotonic() - start < 30, "nothing is tried again where nobody can answer"
        del target, process
        gc.collect()
    assert not any(map(alive, numbers))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_that_was_saved_whole(libraries: Path, tmp_path: Path, zipped: bool) -> None:
    from torchxrayvision.models import DenseNet  # type: ignore[import-not-found]

    network = DenseNet(18).eval()
    torch.save(network, tmp_path / "nih.pt", _use_new_zipfile_serialization=zipped)
    target = load_model(tmp_path / "nih.pt", entry=record(XRAY, task="single-label"), python=sys.executable, cache_dir=tmp_path / "cache")
    pixels = torch.rand(2, 1, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(target.module(pixels), network(pixels * 2048 - 1024))


class _Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(("id", "zipped"), [(ENTRY, True), (XRAY, True), (XRAY, False)])
def test_code_in_a_file_is_not_run(libraries: Path, tmp_path: Path, id: str, zipped: bool) -> None:
    torch.save({"state_dict": _Hostile(tmp_path / "mark")}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(LoadError, match=r"other things than tensors .*mkdir"):
        load_model(tmp_path / "a.pt", entry=record(id, task="single-label"), python=sys.executable, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "mark").exists()


def test_what_is_wrong_is_named(libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, file = face(tmp_path)
    cache = tmp_path / "cache"

    def load(python: Any = sys.executable, file: Path = file, **columns: Any) -> None:
        load_model(file, entry=record(ENTRY, **{**SMALL, **columns}), python=python, cache_dir=cache)

    with pytest.raises(LoadError, match="the record lacks mean"):
        loaders.load(replace(catalog.entry(ENTRY), mean=None), Files(cache, local=file, python=Path(sys.executable)))
    with pytest.raises(LoadError, match="size mismatch"):
        load(num_classes=6)
    with pytest.raises(LoadError, match="facenet_pytorch needs an environment of its own: make it with `securitynet environment"):
        load(None)
    with pytest.raises(UsageError, match="no Python that can be started"):
        load("/nowhere/python")
    with pytest.raises(LoadError, match=r"its process ended \(exit code 1\)"):
        load("false")
    with pytest.raises(UsageError, match="unknown library with an environment of its own 'builtin'"):
        load_model("builtin/digits-regular", python=sys.executable, cache_dir=cache)
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    with pytest.raises(LoadError, match="holds no state dict"):
        load(file=tmp_path / "tensor.pt")
    (libraries / "facenet_pytorch.py").write_text("import no_such_package")
    with pytest.raises(LoadError, match="lacks no_such_package"):
        load()
    with pytest.raises(LoadError, match="--task single-label"):
        load_model(file, entry=record(XRAY), python=sys.executable, cache_dir=cache)


def test_one_command(libraries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (libraries / "facenet_pytorch.py").write_text(FACE)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 8631))
    torch.save(network.state_dict(), tmp_path / "face.pt")
    images = np.random.default_rng(0).integers(0, 256, (8, 160, 160, 3), np.uint8)
    np.savez(tmp_path / "faces.npz", x_train=images, y_train=np.arange(8), x_test=255 - images, y_test=np.arange(8))
    command = ["evaluate", ENTRY, "--weights", str(tmp_path / "face.pt"), "--python", sys.executable, "--data", str(tmp_path / "faces.npz")]
    main([*command, "--attacks", "membership/loss", "--cache-dir", str(tmp_path / "cache")])
    shown = capsys.readouterr().out
    assert "facenet_pytorch/vggface2" in shown and "sent: 16 images" in shown


def test_environments_are_made_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With pip itself, and nothing to install."""
    monkeypatch.setattr("securitynet.environments.REQUIREMENTS", {**REQUIREMENTS, "mmpretrain": ("pip",), "robustbench": ("no such name",)})
    assert main(["environment", "mmpretrain", "--cache-dir", str(tmp_path)]) == 0
    assert interpreter("mmpretrain", tmp_path) == place_of("mmpretrain", tmp_path) / "bin" / "python"
    with pytest.raises(LoadError, match="robustbench: its environment cannot be made"):
        create("robustbench", tmp_path)
    with pytest.raises(LoadError, match="robustbench needs an environment"):
        interpreter("robustbench", tmp_path)
    capsys.readouterr()
    assert main(["environment", "--cache-dir", str(tmp_path)]) == 0
    assert "mmpretrain       made" in capsys.readouterr().out
    assert main(["environment", "numpy", "--cache-dir", str(tmp_path)]) == 2


def test_rows_are_those_of_the_network(libraries: Path, tmp_path: Path) -> None:
    """Evaluated in the other process and in this one."""
    network, file = face(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3), np.uint8)
    data = {"x_train": images, "y_train": np.arange(30) % 5, "x_test": 255 - images, "y_test": np.arange(30) % 5}
    facts = record(ENTRY, **SMALL, dataset=None)
    there = load_model(file, entry=facts, python=sys.executable, cache_dir=tmp_path / "there")
    here = {name: facts[name] for name in ("input_size", "num_classes", "scale", "mean", "std")}
    attacks = ["membership/loss"]
    found = securitynet.evaluate(there, data, attacks, cache_dir=tmp_path / "there")
    expected = securitynet.evaluate(network, data, attacks, preprocessing=here, cache_dir=tmp_path / "here")
    assert [row.value for row in found.rows] == pytest.approx([row.value for row in expected.rows], abs=1e-6, nan_ok=True)
