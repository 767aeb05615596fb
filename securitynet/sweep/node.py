"""A worker on a node of a Ray cluster: it fetches weights where it is, and evaluates one job after the other."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from securitynet._version import __version__
from securitynet.errors import SecurityNetError
from securitynet.sweep import serial
from securitynet.sweep.child import PREFIX, clean_up
from securitynet.sweep.fetchers import FETCHERS, Fetched, Fetchers, Pace, log_of
from securitynet.sweep.plan import Job, SweepSettings
from securitynet.sweep.state import Outcome

LONGEST = 1 << 20  # bytes of the end of a log that are sent


@dataclass(frozen=True)
class Place:
    """Where a worker runs, which version of this package is there, and why it cannot work there (None: it can)."""

    host: str
    version: str
    problem: str | None


@dataclass(frozen=True)
class Brought:
    """What comes back from a node: the outcome of a job, or what became of its weights, and the end of its log.

    `broken`: the processes of the node do not start; then `log` is theirs.
    """

    outcome: Outcome | None = None
    fetched: Fetched | None = None
    log: bytes = b""
    broken: str | None = None


class Worker:
    """Fetches and evaluates, each in a thread of its own. Nothing of the driver's file system is used.

    `carried` are the files of the driver that came along, by the path that they have there: relative to the working directory.
    """

    def __init__(self, settings: SweepSettings, carried: Mapping[str, str], gpus: float) -> None:
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # those of the node are for others
        clean_up()
        self._settings = _here(settings, carried)
        self._logs = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._fetchers = Fetchers(self._settings, self._logs, Pace(FETCHERS))
        self._world = serial.World(self._settings, self._logs)

    def place(self) -> Place:
        """Return where this is, and whether it can work."""
        return Place(socket.gethostname(), __version__, self._problem())

    def _problem(self) -> str | None:
        cache = Path(self._settings.cache)
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return f"{cache} cannot be made there ({error.strerror}); give --cache-dir a directory that every node has"
        for _, data in self._settings.data:
            if Path(data).is_absolute() and not Path(data).exists():
                return f"{data} (--data) is not there; put it there under the same path, or give the id of a dataset on the Hub"
        return None

    def fetch(self, job: Job) -> Brought:
        """Bring the weights of a job to this node."""
        fetched = self._fetchers.fetch(job)
        return Brought(fetched=fetched, log=_end_of(log_of(self._logs, job)) if fetched.reason else b"")

    def evaluate(self, job: Job) -> Brought:
        """Evaluate a job whose weights are here, in processes that the next one finds warm."""
        try:
            outcome = self._world.evaluate(job)
        except SecurityNetError as error:
            return Brought(log=_end_of(self._logs / "worker.log"), broken=str(error))
        log = log_of(self._logs, job)
        found = _end_of(log)  # of a job that went well nothing is left
        Path(log).unlink(missing_ok=True)
        return Brought(outcome, log=found)


def _here(settings: SweepSettings, carried: Mapping[str, str]) -> SweepSettings:
    """The settings with the places that files have on this node."""

    def place(name: str) -> str:
        return str(Path.cwd() / carried[name]) if name in carried else name

    return replace(
        settings,
        attacks=tuple(place(name) for name in settings.attacks),
        data=tuple((key, place(name)) for key, name in settings.data),
    )


def _end_of(path: str | Path) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - LONGEST))
        return file.read()
    return b""
