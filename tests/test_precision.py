"""Lower precision and another layout: outputs as floats, another model to the caches, refused where they are of no use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from securitynet import evaluate
from securitynet.cli import main
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.precision import check, faster, named
from securitynet.sweep.plan import SweepSettings
from securitynet.sweep.state import State
from securitynet.target import build


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


@pytest.mark.parametrize(("dtype", "channels_last", "apart"), [("bf16", False, 3e-2), ("fp32", True, 1e-6), ("bf16", True, 3e-2)])
def test_logits_are_floats_near_those_of_full_precision(dtype: str, channels_last: bool, apart: float) -> None:
    target = build(Entry(id="test/small", num_classes=4, input_size=(3, 16, 16)), network())
    made, pixels = faster(target, dtype, channels_last), torch.rand(5, 3, 16, 16)
    with torch.inference_mode():
        whole, low = target.module(pixels), made.module(pixels)
    assert low.dtype == torch.float32 and (whole - low).abs().max() < apart
    assert (dtype == "fp32") or not torch.equal(whole, low)
    assert made.fingerprint != target.fingerprint and made.weights_sha256 == target.weights_sha256
    assert faster(target, "fp32", False) is target
    assert faster(target, "fp16", channels_last).fingerprint not in (made.fingerprint, target.fingerprint)


def test_the_column_device_says_both() -> None:
    assert [named("fp32", False), named("bf16", True), named("fp32", True)] == ["", " (bf16, channels-last)", " (channels-last)"]


def test_a_processor_is_refused_before_anything_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check("bf16", True, torch.device("cuda"))
    check("fp32", False, torch.device("cpu"))
    with pytest.raises(UsageError, match="dtype bf16 is for CUDA devices, this one is cpu"):
        evaluate("no/such model", dtype="bf16", cache_dir=tmp_path)
    with pytest.raises(UsageError, match="dtype must be one of fp32, bf16, fp16, not 'int8'"):
        evaluate("no/such model", dtype="int8", cache_dir=tmp_path)
    if not torch.cuda.is_available():
        assert main(["evaluate", "builtin/digits-regular", "--channels-last", "--cache-dir", str(tmp_path)]) == 2
        assert "channels-last is for CUDA devices, this one is cpu" in capsys.readouterr().err
        assert main(["sweep", "--pattern", "builtin/*", "--dtype", "bf16", "--cache-dir", str(tmp_path)]) == 2
        assert "--dtype and --channels-last are for CUDA devices" in capsys.readouterr().err


def test_sweeps_of_two_precisions_do_not_share_a_directory(tmp_path: Path) -> None:
    usual, low = SweepSettings("cache"), SweepSettings("cache", dtype="bf16")
    with State(tmp_path, low.binding) as state:
        state.write_head()
    with pytest.raises(UsageError, match="holds a sweep with dtype 'bf16', not None"):
        State(tmp_path, usual.binding).__enter__()
