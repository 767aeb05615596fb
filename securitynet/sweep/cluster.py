"""A Ray cluster: which one, what each worker reserves of it, and what travels to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet.errors import UsageError
from securitynet.sweep.child import PREFIX
from securitynet.sweep.fetchers import FETCHERS
from securitynet.sweep.node import Worker
from securitynet.sweep.plan import SweepSettings

LARGEST = 100_000_000  # bytes of attacks and data that travel; Ray itself takes no more than 512 MiB
PASSED = ("HF_ENDPOINT", "HF_HUB_OFFLINE")  # variables that the nodes get from here; tokens are not among them: Ray shows what it passes


@dataclass(frozen=True)
class Cluster:
    """`workers` evaluate at the same time; each reserves so many CPUs and GPUs, parts of one too.

    `address`: of the cluster, as Ray takes it; None: of RAY_ADDRESS, else of the head on this machine, else one is started here.
    `cpus` None: one for each process. `gpus` None: one for each process where the cluster has any. `patience`: seconds that
    the sweep waits for a first worker to find room.
    """

    workers: int = 2
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    patience: float = 3600.0

    def checked(self, settings: SweepSettings) -> Cluster:
        """Return itself. Raises UsageError for numbers that no worker can have."""
        if self.workers < 1:
            raise UsageError(f"--workers {self.workers}: at least one is needed")
        if self.cpus is not None and self.cpus <= 0:
            raise UsageError(f"--worker-cpus {self.cpus:g}: more than 0 is needed")
        if self.gpus is not None and (self.gpus < 0 or (self.gpus > 1 and self.gpus % 1)):
            raise UsageError(f"--worker-gpus {self.gpus:g}: Ray gives a part of one GPU, or whole ones")
        if self.gpus and self.gpus < settings.processes and settings.processes > 1:
            raise UsageError(f"--worker-gpus {self.gpus:g} with --processes {settings.processes}: each process needs a GPU of its own")
        return self


@contextlib.contextmanager
def connected(ray: Any, settings: SweepSettings, cluster: Cluster) -> Iterator[tuple[Callable[[], Any], str]]:
    """Connect to the cluster, or start one here; yield what starts a worker on it, and what one reserves, for a person.

    Raises UsageError where the cluster does not answer, or cannot have what a worker is to reserve.
    """
    cpus = cluster.cpus or float(settings.processes)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as folder:
        carried = carry(settings, Path(folder))
        _connect(ray, cluster, cpus, _environment(Path(folder), carried))
        try:
            offered = ray.cluster_resources().get("GPU", 0)
            gpus = float(settings.processes if offered else 0) if cluster.gpus is None else cluster.gpus
            groups = {"fetch": FETCHERS, "evaluate": 1}
            actor = ray.remote(num_cpus=cpus, num_gpus=gpus, concurrency_groups=groups, max_restarts=0)(Worker)
            yield lambda: actor.remote(settings, carried, gpus), f"{cpus:g} CPUs and {gpus:g} GPUs"
        finally:
            ray.shutdown()


def _connect(ray: Any, cluster: Cluster, cpus: float, environment: dict[str, Any]) -> None:
    """Connect to what there is, else start a cluster with room for each worker; signals stay as they are."""
    handler = signal.getsignal(signal.SIGTERM)
    facts = {"log_to_driver": False, "logging_level": "ERROR", "runtime_env": environment}
    try:
        try:
            room = {"num_cpus": -(-cluster.workers * cpus // 1)}
            ray.init(cluster.address, include_dashboard=False, **facts, **room)
        except ValueError:  # Ray's word for: there is a cluster, and its room is what it is
            ray.init(cluster.address, **facts)
    except Exception as error:
        where = cluster.address or os.environ.get("RAY_ADDRESS") or "the cluster that `ray start` named last"
        raise UsageError(
            f"--engine ray: {where} does not answer as a Ray cluster ({_reason(error)}); give --ray-address HOST:PORT, "
            "or --ray-address local for one on this machine"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, handler)


def _reason(error: BaseException) -> str:
    """The end of what Ray says, of the first cause: its last line is the reason (a wrong token, for instance)."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return lines[-1][:150] if lines else type(error).__name__


def carry(settings: SweepSettings, folder: Path) -> dict[str, str]:
    """Copy files of the user's attacks and data into `folder`; return where each is there.

    Data of more than LARGEST bytes, and folders, stay where they are: each node must have them under the same path.
    Raises UsageError for attacks that are too large.
    """
    carried: dict[str, str] = {}
    left = LARGEST
    attacks = [name for name in settings.attacks if name.endswith(".py")]
    for name in dict.fromkeys([*attacks, *(data for _, data in settings.data)]):
        path = Path(name)
        if not path.is_file():
            continue
        left -= path.stat().st_size
        if left < 0 and name in attacks:
            raise UsageError(f"{name}: the files of attacks are larger than the {LARGEST // 1_000_000} MB that travel to the nodes")
        if left < 0:
            left += path.stat().st_size
            continue
        carried[name] = f"securitynet-sweep/{len(carried)}/{path.name}"
        (folder / carried[name]).parent.mkdir(parents=True)
        shutil.copyfile(path, folder / carried[name])
    return carried


def _environment(folder: Path, carried: dict[str, str]) -> dict[str, Any]:
    """Ray's runtime environment of the workers."""
    files = {"working_dir": str(folder)} if carried else {}
    return {"env_vars": {name: os.environ[name] for name in PASSED if name in os.environ}, **files}


def library() -> Any:
    """Return Ray. Raises UsageError where it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'securitynet[ray]'") from error
    return ray
