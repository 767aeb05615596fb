"""What the tests of sweeps share: small models behind a server of this machine, some of them sick, and the command in a process."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from web import Web, serve

from securitynet import catalog
from securitynet.data.digits import digits
from securitynet.entry import Entry
from securitynet.results.row import Row
from securitynet.results.store import RowStore, read
from securitynet.sweep import serial
from securitynet.sweep.plan import Job
from securitynet.sweep.state import Outcome

MAY_DIFFER = ("seconds", "peak_memory", "date")
DEADLY = '''"""An attack that is quick, but ends the process of some models."""

import os
import signal
import time
from dataclasses import dataclass

import numpy as np

from securitynet.metrics.intervals import Estimate


@dataclass(frozen=True)
class Found:
    number: float
    family: str = "membership"
    queries: int = 0

    def metrics(self):
        return [Estimate("auc", self.number, 2)]

    def arrays(self):
        return {"scores": np.asarray([self.number])}


@dataclass(frozen=True)
class Deadly:
    name = "membership/deadly"

    def __call__(self, target, splits, accelerator):
        print("here was", target.entry.id, flush=True)
        time.sleep(float(os.environ.get("PAUSE", "0")))
        if target.entry.id == "test/segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if target.entry.id == "test/hang":
            time.sleep(3600)
        if target.entry.id == "test/memory":
            np.empty(2**50, np.uint8)
        return Found(float(abs(next(target.module.parameters())).sum()))
'''


class Zoo:
    """Models by id: records in a file as --ids-from takes it, weights behind a server, images in a file, an attack in another."""

    def __init__(self, folder: Path, web: Web) -> None:
        self.folder, self.web = folder, web
        self.records: dict[str, dict[str, Any]] = {}
        self.images, self.attack = folder / "images.npz", folder / "deadly.py"
        chosen = np.random.default_rng(0).permutation(120)
        pixels, labels = (array[chosen] for array in digits())
        np.savez(self.images, x_train=pixels[:60], y_train=labels[:60], x_test=pixels[60:], y_test=labels[60:])
        self.attack.write_text(DEADLY, encoding="utf-8")

    def add(self, name: str, weights: bytes, **columns: Any) -> None:
        """Serve weights of the built-in architecture under an entry `test/<name>`."""
        record = catalog.entry("builtin/digits-regular").to_record()
        keep = ("architecture", "architecture_args", "num_classes", "input_size", "channels", "mean", "std", "crop", "params", "macs")
        url = self.web.put(f"/{name}.safetensors", weights)
        pin = {"weights_hash": hashlib.sha256(weights).hexdigest(), "hash_algorithm": "sha256", "weights_size": len(weights)}
        own = {"id": f"test/{name}", "source": "test", "name": name, "loader": "checkpoint", "weights_url": url, **pin}
        self.records[own["id"]] = {**{key: record[key] for key in keep}, **own, **columns}

    def write(self, *extra: str) -> Path:
        """Write all records, and ids of the catalog, into a file; return its path."""
        path = self.folder / "models.jsonl"
        path.write_text("".join(f"{line}\n" for line in (*map(json.dumps, self.records.values()), *extra)), encoding="utf-8")
        return path

    def command(self, output: Path, cache: str, *options: str) -> list[str]:
        """Return the command of a sweep over all of them, quick attacks only."""
        own = ["--ids-from", str(self.write()), "--data", str(self.images), "--attacks", "membership/loss", str(self.attack)]
        return [*SECURITYNET, "sweep", *own, "--output", str(output), "--cache-dir", str(self.folder / cache), *options]


SECURITYNET = [sys.executable, "-c", "import sys; from securitynet.cli import main; sys.exit(main())"]


def weights_of(name: str, noise: int = 0, nan: bool = False) -> bytes:
    """The weights of a built-in model, with a little noise by seed, or with one that is not a number."""
    from safetensors.numpy import load, save

    arrays = load((resources.files("securitynet.catalog") / "builtin" / f"digits-{name}" / "model.safetensors").read_bytes())
    key = max(key for key, value in arrays.items() if value.ndim == 4)  # the file is read in no order; the first layer stays a number
    if noise:
        arrays[key] = arrays[key] + np.random.default_rng(noise).normal(0, 1e-3, arrays[key].shape).astype(np.float32)
    if nan:
        arrays[key] = np.full_like(arrays[key], np.nan)
    return save(arrays)


@contextmanager
def zoo(folder: Path) -> Iterator[Zoo]:
    """An empty zoo with its server."""
    folder.mkdir(parents=True, exist_ok=True)
    with serve() as web:
        yield Zoo(folder, web)


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers; yields its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/weights.safetensors"


def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    """Run a sweep in a process of its own."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def finish(command: list[str], **environment: str) -> tuple[int, dict[str, Any], str]:
    """Run a sweep with --json to its end; return exit code, JSON and what it wrote on stderr."""
    process = start([*command, "--json"], **environment)
    output, errors = process.communicate(timeout=300)
    return process.returncode, json.loads(output) if output else {}, errors


def wait_for(condition: Any, seconds: float = 180) -> None:
    """Wait until condition() holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The lines that stand in a journal."""
    return read(folder, running=True).journal.lines


def records_of(folder: Path) -> list[dict[str, Any]]:
    """The rows that stand in a directory, as they were written."""
    contents = read(folder, running=True)
    return [json.loads(raw) for batch in contents.batches for raw in contents.records(batch)]


def kill_after(command: list[str], folder: Path, events: int, delay: float = 0.0) -> None:
    """Start a sweep and kill its driver, after so many more lines of its journal and `delay` seconds."""
    before = len(lines_of(folder))
    process = start(command)
    drain = threading.Thread(target=process.communicate)
    drain.start()
    wait_for(lambda: process.poll() is not None or len(lines_of(folder)) >= before + events)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    drain.join()


def table(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of a directory by id, without the columns that no two runs share."""
    rows = records_of(folder)
    assert len({row["row_id"] for row in rows}) == len(rows)
    return {row["row_id"]: {key: value for key, value in row.items() if key not in MAY_DIFFER} for row in rows}


def job(name: str, host: str = "https://a") -> Job:
    """A job whose weights lie on a host."""
    return Job(Entry(id=f"test/{name}", dataset="CIFAR-10", loader="checkpoint", weights_url=f"{host}/{name}"), 0)


def good(of: Job) -> Outcome:
    """A job that went well."""
    return Outcome(of, (Row(entry=of.entry.id, attack="query"),), (0.0, 1.0), (1.0, 2.0), reached=True)


def bad(of: Job, kind: str | None, path: str | None = None) -> Outcome:
    """A job that failed, maybe for the machine."""
    return serial.failed(of, "it failed", fault=kind, path=path)


def put_rows(folder: str, worker: int) -> None:
    """Put rows of one's own and shared ones into a store: what a process of its own does, which imports it from here."""
    store = RowStore(Path(folder))
    for number in range(15):
        if store.get(f"shared-{number}") is None:
            rows = [Row(entry="x", family="membership", attack=f"membership/{number}", metric="auc", value=0.5)]
            store.put(f"shared-{number}", rows, {"scores": np.arange(5)})
        rows = [Row(entry="x", family="membership", attack=f"membership/{worker}-{number}", metric="auc", value=0.5)]
        store.put(f"own-{worker}-{number}", rows, {})
