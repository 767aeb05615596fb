"""What all models of one process share: set anew before each, and compared afterwards, so that one model changes no other's numbers."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import locale
import logging
import os
import random
import re
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from securitynet.sweep.functions import Functions

LIBRARIES = re.compile(r"resource_tracker|loky")  # what libraries for parallel work leave in the names of their processes
WARM = 3  # entries after which a process has opened what it keeps open
TINY = 1e-310  # a number that is zero where small ones are flushed
FILES = 16  # more open files than after the third entry that are no leak yet


def seed_of(entry: str, seed: int) -> int:
    """Return the seed of everything random in the evaluation of one entry with one seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{entry}".encode()).digest()[:4], "big")


class Shared:
    """What the process looked like before its first entry."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._errors = np.geterr()
        self._facts = _facts()
        self._functions = Functions()
        self._path, self._threads = list(sys.path), set(threading.enumerate())
        self._entries, self._files = 0, 0

    @contextlib.contextmanager
    def around(self, entry: str, seed: int) -> Iterator[None]:
        """Give one entry random states that follow from it alone, and environment and filters of warnings as they were at first."""
        number = seed_of(entry, seed)
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        with warnings.catch_warnings():
            try:
                yield
            finally:
                self._put_back()

    def _put_back(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        np.seterr(**self._errors)
        sys.path[:] = self._path
        logging.disable(logging.NOTSET)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def changed(self) -> str | None:
        """Return what is not as it was before the first entry, which nobody can put back with certainty; None where all is."""
        self._entries += 1
        files = _open_files()
        if self._entries <= WARM:
            self._files = max(self._files, files)
        found = [what for what in (self.broken(),) if what]
        if files > self._files + FILES:
            found.append(f"{files} files are open, after the third entry there were {self._files}")
        found += [f"the thread {thread.name} goes on" for thread in threading.enumerate() if self._is_left(thread)]
        found += [f"the process {name} goes on" for name in _children()]
        return "; ".join(found) or None

    def broken(self) -> str | None:
        """Return what may change numbers and is not as it was before the first entry; None where all is."""
        try:
            now, replaced = _facts(), self._functions.replaced()
        except Exception as error:  # noqa: BLE001 - with what an attack left, even looking may fail; it is a change in any case
            return f"so much that it cannot be compared ({type(error).__name__})"
        found = [f"{name} is {now[name]}, was {before}" for name, before in self._facts.items() if now[name] != before]
        return "; ".join([*found, *([replaced] if replaced else [])]) or None

    def _is_left(self, thread: threading.Thread) -> bool:
        """Say whether an entry left a thread; those of a class of a library's own (a progress bar's) serve all entries."""
        return thread not in self._threads and type(thread).__module__ == "threading"


def _facts() -> dict[str, Any]:
    """What is compared, by name."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    facts: dict[str, Any] = {
        "the default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn.benchmark": cudnn.benchmark,
        "cudnn.deterministic": cudnn.deterministic,
        "cudnn.enabled": cudnn.enabled,
        "TF32": (cudnn.allow_tf32, matmul.allow_tf32, torch.get_float32_matmul_precision()),
        "the number of threads": torch.get_num_threads(),
        "the default device": torch.get_default_device(),
        "oneDNN": torch.backends.mkldnn.enabled,
        "the detection of anomalies": torch.is_anomaly_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        "small numbers": float(torch.tensor(TINY, dtype=torch.float64, device="cpu") * 1.0),
        "the limit of recursion": sys.getrecursionlimit(),
        "the collection of garbage": gc.isenabled(),
        "the time-out of sockets": socket.getdefaulttimeout(),
        "the mask of new files": _umask(),
        "the cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "the limit of open files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "the limit of processor time": resource.getrlimit(resource.RLIMIT_CPU),
        "the locale": locale.setlocale(locale.LC_ALL),
        "standard output": [_is_whole(stream) for stream in (sys.stdout, sys.stderr)],
        "the working directory": _folder(),
    }
    handlers = {f"the handler of {number.name}": signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    return facts | handlers


def _children() -> list[str]:
    """Names of processes that were started and go on; not those that libraries keep for the next time."""
    place = Path(f"/proc/self/task/{os.getpid()}/children")
    if not place.exists() or not place.read_text(encoding="ascii"):
        return []
    children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child.name() for child in children if not LIBRARIES.search(" ".join(child.cmdline()))]


def _is_whole(stream: Any) -> bool:
    return stream is not None and not stream.closed


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "one that was removed"


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
