"""The command line as a person meets it, in processes of its own where the exit code or the streams matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securitynet import cli

SCORES = ("correctness", "confidence", "loss", "entropy", "modified_entropy", "margin")


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a fresh process."""
    command = [sys.executable, "-c", "import sys; from securitynet.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, timeout=300)


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Run the command in this process with --json; return the exit code and the JSON."""
    code = cli.main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def test_help_names_every_command_and_option() -> None:
    done = call("--help")
    assert done.returncode == 0 and all(name in done.stdout for name in cli.names())
    for name in cli.names():
        assert len(call(name, "--help").stdout) > 200


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    code, models = output(capsys, "list", "builtin/digits-*", "--dataset", "digits")
    assert code == 0 and {"builtin/digits-regular", "builtin/digits-overfit"} <= {model["id"] for model in models}
    code, shown = output(capsys, "show", "pytorchcv/resnet20_cifar10")
    assert shown["entry"]["dataset"] == "CIFAR-10"
    assert {row["metric"] for row in shown["results"]} >= {"auc", "test_accuracy", "agreement"}
    assert cli.main(["list", "builtin/*"]) == 0 and "digits-regular" in capsys.readouterr().out
    assert cli.main(["show", "builtin/digits-regular"]) == 0 and "members_file" in capsys.readouterr().out


def test_the_overfit_model_leaks_more_by_every_score(capsys: pytest.CaptureFixture[str], cache: str) -> None:
    aucs = {}
    for name in ("regular", "overfit"):
        code, result = output(capsys, "evaluate", f"builtin/digits-{name}", "--cache-dir", cache)
        assert code == 0 and result["verify"]["status"] == "ok"
        aucs[name] = {row["attack"]: row["value"] for row in reversed(result["rows"]) if row["metric"] == "auc"}
    for score in SCORES:
        assert aucs["overfit"][f"membership/{score}"] > aucs["regular"][f"membership/{score}"]


@pytest.mark.parametrize(("name", "cause"), [("permuted", "class permutation"), ("constant", "constant predictor")])
def test_broken_models_are_suspect(capsys: pytest.CaptureFixture[str], cache: str, name: str, cause: str) -> None:
    code, found = output(capsys, "verify", f"builtin/digits-{name}", "--cache-dir", cache)
    assert code == cli.SUSPECT and cause in found["verify"]["cause"]
    code, result = output(capsys, "evaluate", f"builtin/digits-{name}", "--cache-dir", cache)
    assert code == cli.SUSPECT and {row["status"] for row in result["rows"]} <= {"suspect", "skipped"}
    assert all(cause in row["reason"] for row in result["rows"] if row["status"] == "suspect")


def test_the_table_says_what_it_means(capsys: pytest.CaptureFixture[str], cache: str, tmp_path: Path) -> None:
    assert cli.main(["evaluate", "builtin/digits-overfit", "--cache-dir", cache, "--output", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    for words in ("verify: ok", "modified_entropy", "AUC", "chance is 50 %"):
        assert words in text
    assert {"rows.jsonl", "entry.json", "summary.json", "outputs.npz"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_usage_errors_are_one_line_with_neighbours() -> None:
    done = call("evaluate", "builtin/digits-overfitt")
    assert done.returncode == cli.USAGE and "builtin/digits-overfit" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not done.stdout
    assert call("evaluate", "builtin/digits-regular", "--attacks", "membership/los").returncode == cli.USAGE
    assert call("evaluate", "builtin/digits-regular", "--samples", "-3").returncode == cli.USAGE
    assert call("nonsense").returncode == cli.USAGE
    assert "Traceback" in call("evaluate", "nothing/here", "-v").stderr


def test_failures_are_one_line() -> None:
    done = call("evaluate", "builtin/digits-regular", "--data", "/nowhere/at/all.npz")
    assert done.returncode in (cli.FAILED, cli.USAGE) and "/nowhere/at/all.npz" in done.stderr and "Traceback" not in done.stderr


def test_killed_in_the_middle_it_completes_without_loss(tmp_path: Path) -> None:
    """Kill -9 once the first attack's rows are on disk; the second run keeps them and adds the rest, each once."""
    arguments = ["evaluate", "builtin/digits-regular", "--cache-dir", str(tmp_path), "--json"]
    command = [sys.executable, "-c", "from securitynet.cli import main; main()", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("membership-*.jsonl")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    assert before
    rows = json.loads(call(*arguments).stdout)["rows"]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len({row["row_id"] for row in rows}) == len(rows)
    whole = json.loads(call("evaluate", "builtin/digits-regular", "--cache-dir", str(tmp_path / "other"), "--json").stdout)["rows"]
    volatile = {"seconds", "peak_memory", "date"}
    strip = [{key: value for key, value in row.items() if key not in volatile} for row in rows]
    assert strip == [{key: value for key, value in row.items() if key not in volatile} for row in whole]


def test_two_processes_give_the_same_numbers(tmp_path: Path) -> None:
    def evaluate(prefix: list[str], where: str) -> tuple[list[dict[str, Any]], Any]:
        command = [
            *prefix,
            "evaluate",
            "builtin/digits-regular",
            "--cache-dir",
            str(tmp_path / where),
            "--output",
            str(tmp_path / f"{where}-out"),
            "--json",
        ]
        environment = {**os.environ, "ACCELERATE_USE_CPU": "yes", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)["rows"], np.load(tmp_path / f"{where}-out" / "outputs.npz")

    script = str(Path(sys.executable).parent / "securitynet")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", script]
    one, one_outputs = evaluate([script], "one")
    two, two_outputs = evaluate(torchrun, "two")
    assert {row["processes"] for row in two} == {2} and {row["processes"] for row in one} == {1}
    for name in one_outputs.files:
        assert np.allclose(one_outputs[name], two_outputs[name], atol=1e-5)
    compared = 0
    for first, second in zip(one, two, strict=True):
        assert (first["attack"], first["metric"], first["row_id"]) == (second["attack"], second["metric"], second["row_id"])
        if first["value"] is not None and first["attack"] != "membership/mlp":
            assert first["value"] == pytest.approx(second["value"], abs=1e-9)
            compared += 1
    assert compared > 30
