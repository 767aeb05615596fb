"""Libraries with environments of their own: a command builds, the records are compared; checkpoints become safetensors."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from securitynet import catalog
from securitynet.cli import main
from securitynet.errors import UsageError
from securitynet.maintenance.construct_elsewhere import construct_outside

SCRIPT = Path(__file__).parents[1] / "environments" / "build.py"
LIBRARY = """
from torch import nn
def get_model(name, pretrained):
    assert not pretrained
    if name == "broken":
        raise RuntimeError("no\\nsuch network")
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 10))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, Any]:
    """What starts the script beside a stand-in for the library."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "mmpretrain.py").write_text(LIBRARY)
    return {"env": {"PYTHONPATH": str(tmp_path / "library"), "PATH": ""}, "capture_output": True, "text": True, "check": True}


def test_the_script_reports_what_it_builds(environment: dict[str, Any]) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "mmpretrain", "build"], input="good\nbroken\n", **environment)
    good, broken = map(json.loads, done.stdout.splitlines())
    assert good == {"name": "good", "params": 55, "all": 55, "outputs": [3, 10]}
    assert broken == {"name": "broken", "problem": "RuntimeError: no such network"}


def test_the_script_hands_back_safetensors(environment: dict[str, Any], tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 10))
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
    command = [sys.executable, str(SCRIPT), "mmpretrain", "convert", "good", str(tmp_path / "a.pth"), str(tmp_path / "a.safetensors")]
    told = json.loads(subprocess.run(command, **environment).stdout)
    assert told["params"] == 55 and set(told["sha256"]) == {"a.pth", "a.safetensors"}
    found = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(found[key], value) for key, value in network.state_dict().items())
    torch.save({"state_dict": {"module.0.weight": state["module.0.weight"]}}, tmp_path / "a.pth")
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(command, **environment)


def builder(folder: Path, text: str) -> str:
    (folder / "builder.py").write_text("import json, sys\nfor line in sys.stdin:\n    name = line.strip()\n" + text)
    return f"{sys.executable} {folder / 'builder.py'}"


def test_answers_are_compared_with_the_records(tmp_path: Path) -> None:
    entry = replace(catalog.entry("robustbench/cifar10/Linf/Kang2021Stable"), params=5)
    answer = "    print(json.dumps({'name': name, 'params': 5, 'all': 5, 'outputs': [3, 10]}), flush=True)\n"
    command = builder(tmp_path, answer)
    others = [replace(entry, params=6), replace(entry, num_classes=11)]
    assert [one.problem for one in construct_outside([entry, *others], command)] == [
        None, "has 5 trainable parameters, the record says 6", "none of its layers has 11 outputs, the record's number of classes"
    ]  # fmt: skip
    for text in ("    sys.exit()\n", "    print('hello', flush=True)\n", "    print(json.dumps({'name': 'another'}), flush=True)\n"):
        with pytest.raises(UsageError, match="gave no answer for cifar10/Linf"):
            list(construct_outside([entry, entry], builder(tmp_path, text)))
    with pytest.raises(UsageError, match="cannot be started"):
        list(construct_outside([entry], "/nowhere/python build.py"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["catalog", "check", "--construct", "--sample", "3", "--json"]
    command = builder(tmp_path, "    print(json.dumps({'name': name, 'problem': 'no'}), flush=True)\n")
    assert main([*words, "--source", "robustbench", "--with", command]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sources"] == {"robustbench": {"built": 0, "problems": 3}} and all(one.endswith(": no") for one in report["problems"])
    assert main([*words, "--with", command]) == 2
