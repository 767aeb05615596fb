"""A sweep on a Ray cluster whose nodes see nothing of the driver's files, one of which is lost; and what is refused."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweeping import Zoo, finish, lines_of, start, table, wait_for, weights_of, zoo

from securitynet import cli
from securitynet.errors import UsageError
from securitynet.sweep.cluster import Cluster, carry, connected, library
from securitynet.sweep.plan import SweepSettings

RAY = [sys.executable, "-c", "import sys; from ray.scripts.scripts import main; sys.exit(main())", "start", "--disable-usage-stats"]
GATED = ("test/gate-1", "test/gate-2")


class Nodes:
    """A Ray cluster on this machine: a head without room, and nodes, each in a name space of mounts in which `hidden` is empty."""

    def __init__(self, hidden: Path) -> None:
        self.hidden = hidden
        self.place = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # the names of Ray's sockets must be short
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment = {**os.environ, **token, "RAY_TMPDIR": str(self.place), "RAY_ADDRESS": ""}
        self._all: list[subprocess.Popen[bytes]] = []
        self._start([*RAY, "--head", "--port", "0", "--num-cpus", "0", "--num-gpus", "0", "--include-dashboard", "false", "--block"])
        known = self.place / "ray" / "ray_current_cluster"
        wait_for(lambda: (known.exists() and known.read_text().strip()) or self._all[0].poll() is not None, 600)
        self.address = known.read_text().strip()

    def add(self, cpus: int, gpus: int) -> subprocess.Popen[bytes]:
        """Start a node with so many CPUs, and GPUs that nobody uses."""
        node = [*RAY, "--address", self.address, "--num-cpus", str(cpus), "--num-gpus", str(gpus), "--block"]
        hide = f"mount -t tmpfs tmpfs {shlex.quote(str(self.hidden))} && cd / && exec {shlex.join(node)}"
        return self._start(["unshare", "--mount", "sh", "-c", hide])

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        log = (self.place / "log").open("ab")
        self._all.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        return self._all[-1]

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """Kill all that runs on a node."""
        import psutil

        processes = [psutil.Process(node.pid)] if node.poll() is None else []
        for process in [*processes, *(child for parent in processes for child in parent.children(recursive=True))]:
            process.kill()
        node.wait()

    def end(self) -> None:
        """End the cluster."""
        for node in reversed(self._all):
            self.lose(node)
        shutil.rmtree(self.place, ignore_errors=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """Two models that wait at a gate, a healthy one, one that crashes, one whose weights are wrong."""
    with zoo(tmp_path_factory.mktemp("zoo")) as made:
        for number, name in enumerate(("gate-1", "gate-2", "one", "segfault", "corrupt"), 1):
            made.add(name, weights_of("regular", number), **({"weights_hash": "0" * 64} if name == "corrupt" else {}))
        gates = Path(tempfile.mkdtemp(prefix="gates-", dir="/tmp"))
        wait = f'while os.path.exists({str(gates)!r} + "/" + target.entry.id[5:]):\n            time.sleep(0.05)'
        text = made.attack.read_text(encoding="utf-8")
        assert text.count("time.sleep(float") == 1
        made.attack.write_text(re.sub(r"time\.sleep\(float.*\)", lambda _: wait, text), encoding="utf-8")
        made.gates = gates  # type: ignore[attr-defined]
        yield made
        shutil.rmtree(gates)


@pytest.fixture(scope="module")
def nodes(models: Zoo) -> Iterator[Nodes]:
    """A head that a driver finds by itself."""
    pytest.importorskip("ray", reason="Ray is not installed (securitynet[ray])")
    if os.geteuid() or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("file systems of their own need root")
    made = Nodes(models.folder)
    try:
        yield made
    finally:
        made.end()


def now(folder: Path, capsys: Any) -> set[str]:
    """The models at work, as `sweep status` has them."""
    if not (folder / "sweep.json").exists():
        return set()
    capsys.readouterr()
    assert cli.main(["sweep", "status", str(folder), "--json"]) == 0
    return {job["entry"] for job in json.loads(capsys.readouterr().out)["now"]}


def test_a_lost_node_costs_nothing_and_no_file_is_shared(models: Zoo, nodes: Nodes, capsys: Any, request: Any) -> None:
    gates: Path = models.gates  # type: ignore[attr-defined]
    for entry in GATED:
        (gates / entry[5:]).touch()
    models.web.pages["/one.safetensors"].refusals.append({"Retry-After": "3"})  # longer than a download waits for a server
    folder = models.folder / "ray"
    reserved = ["--worker-cpus", "0.5", "--worker-gpus", "0.5"]  # two workers share the one GPU of a node
    first = nodes.add(1, 1)
    sweep = start(models.command(folder, "cache-ray", "--engine", "ray", *reserved), **nodes.environment)
    request.addfinalizer(sweep.kill)
    wait_for(lambda: set(GATED) == now(folder, capsys) or sweep.poll() is not None, 600)
    assert sweep.poll() is None, sweep.communicate()
    nodes.add(1, 1)
    nodes.lose(first)

    def begun() -> list[str]:
        return sorted(line["entry"] for line in lines_of(folder) if line["event"] == "begun" and line["entry"] in GATED)

    wait_for(lambda: begun() == sorted(2 * GATED) or sweep.poll() is not None, 600)
    assert sweep.poll() is None, sweep.communicate()
    for gate in gates.iterdir():
        gate.unlink()
    _, errors = sweep.communicate()
    assert sweep.returncode == 1 and errors.count("was lost") == 2, errors  # two models fail, as they should
    assert [path for path, _ in models.web.requests].count("/one.safetensors") >= 2  # it was asked again

    code, found, errors = finish(models.command(models.folder / "serial", "cache-serial"))
    assert (code, found["ok"], found["failed"]) == (1, 3, 2), errors
    assert table(folder) == table(models.folder / "serial")
    assert not list((models.folder / "cache-ray").rglob("*.safetensors"))  # weights were fetched where they are used
    logs = folder / "logs"
    assert "Segmentation fault" in (logs / "test-segfault.seed-0.log").read_text() and not (logs / "test-one.seed-0.log").exists()
    assert "wrong hash" in (logs / "test-corrupt.seed-0.log").read_text()


ALONE = """
import sys
from pathlib import Path
from securitynet.entry import Entry
from securitynet.errors import SecurityNetError
from securitynet.sweep import ray_cluster, serial
from securitynet.sweep.cluster import Cluster
from securitynet.sweep.plan import Job, SweepSettings
cluster = Cluster(workers=1, gpus=3.0, patience=1.0)
try:
    calls = serial.Calls(lambda: False, print, print)
    list(ray_cluster.run([Job(Entry(id="a/b"), 0)], SweepSettings("/tmp"), Path("/tmp"), cluster, calls))
except SecurityNetError as error:
    sys.exit(str(error))
"""


def test_a_worker_that_finds_no_room_and_a_wrong_token_are_one_line(nodes: Nodes) -> None:
    def said(**environment: str) -> str:
        own = {**nodes.environment, **environment}
        done = subprocess.run([sys.executable, "-c", ALONE], env=own, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        return done.stderr.strip().splitlines()[-1]

    assert re.fullmatch(r"no worker has found room: each reserves 1 CPUs and 3 GPUs, the cluster has \d and \d in all; see .*", said())
    assert "does not answer as a Ray cluster" in (refused := said(RAY_AUTH_TOKEN="0" * 64)) and "token is missing or incorrect" in refused


def test_no_cluster_at_an_address_is_one_line(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed (securitynet[ray])")
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(UsageError, match=r"^--engine ray: nowhere does not answer as a Ray cluster \(.*\); give --ray-address"),
        connected(ray, SweepSettings(str(tmp_path)), Cluster(address="nowhere")),
    ):
        pass
    assert signal.getsignal(signal.SIGTERM) is before  # Ray's own would end the sweep within a model


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'securitynet\[ray\]'"):
        library()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"workers": 0}, "--workers 0"),
        ({"cpus": 0.0}, "--worker-cpus 0"),
        ({"gpus": 1.5}, "a part of one GPU, or whole ones"),
        ({"gpus": -1.0}, "--worker-gpus -1"),
    ],
)
def test_what_no_worker_can_reserve_is_refused(wrong: dict[str, Any], words: str) -> None:
    settings = SweepSettings("cache")
    assert Cluster(gpus=0.5, cpus=0.5).checked(settings) and Cluster(gpus=2.0).checked(replace(settings, processes=2))
    with pytest.raises(UsageError, match=words):
        replace(Cluster(), **wrong).checked(settings)
    with pytest.raises(UsageError, match="each process needs a GPU of its own"):
        Cluster(gpus=0.5).checked(replace(settings, processes=2))


def test_attacks_and_small_data_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: tmp_path / name / "same.py" for name in ("one", "two")}
    for path in files.values():
        path.parent.mkdir()
        path.write_text(f"# {path}")
    data = {name: tmp_path / name for name in ("small.npz", "large.npz", "folder")}
    data["small.npz"].write_bytes(bytes(100))
    data["large.npz"].write_bytes(bytes(2000))
    data["folder"].mkdir()
    given = SweepSettings("cache", ("standard", *map(str, files.values())), data=tuple((key, str(path)) for key, path in data.items()))
    monkeypatch.setattr("securitynet.sweep.cluster.LARGEST", 1000)
    (tmp_path / "staged").mkdir()
    carried = carry(given, tmp_path / "staged")
    assert set(carried) == {str(path) for path in (*files.values(), data["small.npz"])}
    assert all((tmp_path / "staged" / there).read_bytes() == Path(here).read_bytes() for here, there in carried.items())
    assert len(set(carried.values())) == 3 and {Path(there).stem for there in carried.values()} == {"same", "small"}
    monkeypatch.setattr("securitynet.sweep.cluster.LARGEST", 10)
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="the files of attacks are larger"):
        carry(given, tmp_path / "other")
