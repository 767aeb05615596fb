"""A sweep as an array of SLURM: through submitit's local executor, and through stubs of SLURM's commands that do what these do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweeping import Zoo, finish, lines_of, start, table, wait_for, weights_of, zoo

from securitynet import cli
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.sweep import serial as engine
from securitynet.sweep import slurm
from securitynet.sweep.plan import Job, SweepSettings

# One program under several names. sbatch runs the script for each index of its array, with the variables of a task; a task that
# was requeued runs again. sacct prints what `sacct -o JobID,State,NodeList --parsable2` prints.
STUB = """#!{python}
import json, os, pathlib, re, subprocess, sys, time

STATE = pathlib.Path({state!r})
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]


def task(script, job, index):
    state, again = STATE / f"{{job}}_{{index}}.state", STATE / f"{{job}}_{{index}}.requeue"
    own = {{"SLURM_JOB_ID": f"{{job + 1 + index}}", "SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(index)}}
    (STATE / own["SLURM_JOB_ID"]).write_text(f"{{job}}_{{index}}")
    code = None
    while code is None or again.exists():
        again.unlink(missing_ok=True)
        state.write_text("RUNNING")
        more = {{"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "node1", "SLURM_NODEID": "0"}}
        code = subprocess.call(["bash", script], env={{**os.environ, **own, **more}}, stdin=subprocess.DEVNULL)
    state.write_text("FAILED" if code else "COMPLETED")


if name == "sbatch":
    text = pathlib.Path(arguments[-1]).read_text()
    if "partition=nowhere" in text:
        sys.exit("sbatch: error: invalid partition specified: nowhere\\nsbatch: error: Batch job submission failed")
    job = 1000 * (1 + len(list(STATE.glob("*.sh"))))
    (STATE / f"{{job}}.sh").write_text(text)
    last = int(re.search(r"--array=0-([0-9]+)%", text)[1])
    for index in range(last + 1):
        if os.fork() == 0:
            os.setsid()
            for number in (0, 1, 2):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            task(arguments[-1], job, index)
            os._exit(0)
    print("Submitted batch job", job)
elif name == "srun":
    place = {{"%A": os.environ["SLURM_ARRAY_JOB_ID"], "%a": os.environ["SLURM_ARRAY_TASK_ID"], "%t": "0"}}
    streams = {{}}
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            path = arguments.pop(0)
            for sign, value in place.items():
                path = path.replace(sign, value)
            streams["stdout" if option == "--output" else "stderr"] = open(path, "ab")
    sys.exit(subprocess.call(arguments, env={{**os.environ, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}}, **streams) and 1)
elif name == "scontrol":
    assert arguments[0] == "requeue"
    job, _, index = arguments[1].partition("_")
    one = arguments[1] if index else (STATE / job).read_text()
    (STATE / f"{{one}}.requeue").touch()
elif name == "squeue":
    states = {{path.stem: path.read_text() for path in STATE.glob("*.state")}}
    own = [key for key in states if key.split("_")[0] == arguments[-1]]
    if not own:
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    print("\\n".join(key for key in own if states[key] == "RUNNING"))
elif name == "sacct" and (STATE / "disabled").exists():
    sys.exit("Slurm accounting storage is disabled")
elif name == "sacct":
    print("JobID|State|NodeList")
    for path in sorted(STATE.glob("*.state")):
        if path.stem.split("_")[0] in arguments:
            print(f"{{path.stem}}|{{path.read_text()}}|node1")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """A model that waits at a gate, a healthy one, one that crashes."""
    with zoo(tmp_path_factory.mktemp("zoo")) as made:
        for number, name in enumerate(("gate", "one", "segfault"), 1):
            made.add(name, weights_of("regular", number))
        gate = made.folder / "gate"
        text = made.attack.read_text(encoding="utf-8")
        wait = f"while target.entry.id == 'test/gate' and os.path.exists({str(gate)!r}):\n            time.sleep(0.05)"
        made.attack.write_text(re.sub(r"time\.sleep\(float.*\)", lambda _: wait, text), encoding="utf-8")
        assert str(gate) in made.attack.read_text(encoding="utf-8")
        yield made


@pytest.fixture(scope="module")
def serial(models: Zoo) -> dict[str, dict[str, Any]]:
    """The rows of the serial run."""
    code, found, errors = finish(models.command(models.folder / "serial", "cache"))
    assert (code, found["ok"], found["failed"]) == (1, 2, 1), errors
    return table(models.folder / "serial")


@pytest.fixture
def stubs(models: Zoo) -> Iterator[Path]:
    """A directory for PATH with SLURM's commands."""
    state, place = models.folder / "state", models.folder / "bin"
    state.mkdir()
    place.mkdir()
    for name in ("sbatch", "srun", "scontrol", "sacct", "squeue", "scancel"):
        (place / name).write_text(STUB.format(python=sys.executable, state=str(state)), encoding="utf-8")
        (place / name).chmod(0o755)
    yield place
    for process in psutil.process_iter(["cmdline"]):  # what a test that failed leaves behind
        if any(str(place) in part for part in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in (*process.children(recursive=True), process):
                    one.kill()
    shutil.rmtree(state)
    shutil.rmtree(place)


def test_an_array_is_left_found_again_and_requeued(models: Zoo, serial: dict[str, Any], stubs: Path, request: Any) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed (securitynet[slurm])")
    folder, gate, state = models.folder / "slurm", models.folder / "gate", models.folder / "state"
    command = models.command(folder, "cache-slurm", "--engine", "slurm", "--slurm", "partition=gpu", "--slurm", "time=30", "--json")
    gate.touch()
    request.addfinalizer(lambda: gate.unlink(missing_ok=True))
    path = f"{stubs}:{os.environ['PATH']}"
    first = start(command, PATH=path)
    request.addfinalizer(first.kill)

    def begun() -> list[str]:
        lines = (line for part in folder.glob("shard-*") for line in lines_of(part))
        return [line["entry"] for line in lines if line["event"] == "begun" and line["entry"] == "test/gate"]

    wait_for(lambda: begun() or first.poll() is not None, 600)
    script = (state / "1000.sh").read_text()
    assert "#SBATCH --partition=gpu" in script and "#SBATCH --time=30" in script and "#SBATCH --array=0-1%2" in script
    first.send_signal(signal.SIGINT)
    _, errors = first.communicate()
    assert first.returncode == 130 and "the array goes on; `scancel 1000` ends it" in errors, errors

    second = start(command, PATH=path)
    request.addfinalizer(second.kill)
    (shard,) = {part for part in folder.glob("shard-*") for line in lines_of(part) if line["event"] == "begun" and "gate" in line["entry"]}
    number = int(shard.name.split("-")[1]) - 1
    steps = [process for process in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(process.info["cmdline"] or ())]
    tasks = [process for process in steps if "submitit.core._submit" in process.info["cmdline"] and index_of(process) == str(number)]
    assert len(tasks) == 2  # what srun started, and srun; the signal that comes before the time limit goes to the step's processes
    inner = next(process for process in tasks if "srun" not in " ".join(process.cmdline()[:2]))
    for process in (*inner.children(recursive=True), inner):
        process.send_signal(signal.SIGUSR2)
    wait_for(lambda: len(begun()) == 2 or second.poll() is not None, 600)
    gate.unlink()
    output, errors = second.communicate()
    found = json.loads(output)
    assert (second.returncode, found["finished"], found["ok"], found["failed"]) == (1, True, 2, 1), errors
    assert not (state / "2000.sh").exists()  # one array was submitted, and found again
    assert table(folder) == serial


def index_of(process: Any) -> str | None:
    """The index of the array task that a process belongs to."""
    found: str | None = process.environ().get("SLURM_ARRAY_TASK_ID")
    return found


def test_the_local_executor_gives_the_same_rows(models: Zoo, serial: dict[str, Any]) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed (securitynet[slurm])")
    folder = models.folder / "local"
    command = models.command(folder, "cache-local", "--engine", "slurm", "--slurm", "cluster=local")
    code, found, errors = finish(command)
    assert (code, found["finished"], found["ok"], found["failed"]) == (1, True, 2, 1), errors
    assert table(folder) == serial and {path.name for path in folder.glob("shard-*")} == {"shard-1-of-2", "shard-2-of-2"}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        subprocess.run([*command, "--workers", "3"], check=True, capture_output=True, text=True)
    assert refused.value.returncode == 2 and "is cut into 2 shards already; give --workers 2" in refused.value.stderr


def refused(models: Zoo, capsys: Any, *more: str) -> str:
    """What the command says that is refused before anything runs."""
    code = cli.main(models.command(models.folder / "refused", "cache-refused", "--engine", "slurm", *more)[3:])
    said = capsys.readouterr().err.strip().splitlines()
    assert code in (1, 2) and "Traceback" not in "".join(said)
    return str(said[-1])


def test_what_slurm_or_submitit_refuses_is_one_line(models: Zoo, stubs: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed (securitynet[slurm])")
    assert "sbatch, srun not found on PATH" in refused(models, capsys)
    monkeypatch.setenv("PATH", str(stubs), prepend=os.pathsep)
    assert "invalid partition specified: nowhere" in refused(models, capsys, "--slurm", "partition=nowhere")
    assert "color" in refused(models, capsys, "--slurm", "color=red")
    assert "leave --shard out" in refused(models, capsys, "--shard", "1/2")
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'securitynet[slurm]'" in refused(models, capsys)


class Killed:
    """A task that the system ends without a word."""

    def __call__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("accounting", [True, False])
def test_a_task_that_vanishes_is_noticed(
    models: Zoo, stubs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accounting: bool
) -> None:
    submitit = pytest.importorskip("submitit", reason="submitit is not installed (securitynet[slurm])")
    monkeypatch.setenv("PATH", str(stubs), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    submitit.SlurmJob.watcher.clear()
    if not accounting:
        (models.folder / "state" / "disabled").touch()
    array = slurm.submit(tmp_path, [Killed(), Killed()], [])
    wait_for(lambda: array.is_done)
    words = "FAILED" if accounting else "left the queue without a result"
    assert len(found := array.failures()) == 2 and all(words in one and str(tmp_path) in one for one in found), found
    assert slurm.submitted(tmp_path) is None  # it is not followed again


def test_options_of_sbatch() -> None:
    assert slurm.options(["partition=gpu", "--gpus-per-node=2", "gres=gpu:1"]) == (
        "slurm",
        {"partition": "gpu", "gpus_per_node": 2, "gres": "gpu:1"},
    )
    assert slurm.options(["cluster=local", "time=30"]) == ("local", {"time": 30})
    with pytest.raises(UsageError, match="write NAME=VALUE"):
        slurm.options(["partition"])
    with pytest.raises(UsageError, match="a shard is one task on one node"):
        slurm.options(["nodes=2"])


@pytest.mark.parametrize("stopped", [True, False])
def test_sigterm_to_all_processes_is_no_fault_of_the_model(tmp_path: Path, stopped: bool) -> None:
    """A cluster ends a job so. Without a signal to the driver, whoever ended the process, the model has failed."""
    child = tmp_path / "child.py"
    child.write_text("import os, signal\nfrom securitynet.sweep.serve import Owner\nOwner().next()\nos.kill(os.getpid(), signal.SIGTERM)\n")
    settings, signals = SweepSettings(str(tmp_path)), [False]
    world = engine.World(settings, tmp_path)
    world._child.command = [sys.executable, str(child)]
    work = [Job(Entry(id=f"test/{number}", loader="builtin"), 0) for number in range(2)]
    calls = engine.Calls(lambda: signals[0], lambda _: signals.__setitem__(0, stopped), lambda _: None)
    found = [outcome.rows[0].reason for outcome in engine.run(work, world, calls)]
    assert found == ([] if stopped else 2 * ["the evaluation was killed by SIGTERM"])


def test_a_directory_knows_its_shards(tmp_path: Path) -> None:
    assert slurm.cut(tmp_path) == set()
    (tmp_path / "shard-1-of-8").mkdir()
    assert slurm.cut(tmp_path) == {8}
