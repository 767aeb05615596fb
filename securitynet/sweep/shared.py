"""What all models of one process share: set anew before each, and compared afterwards, so that one model changes no other's numbers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

WARM = 3  # entries after which a process has opened what it keeps open
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

    def changed(self) -> str | None:
        """Return what is not as it was before the first entry, which nobody can put back with certainty; None where all is."""
        self._entries += 1
        files = _open_files()
        if self._entries <= WARM:
            self._files = max(self._files, files)
        now = _facts()
        found = [f"{name} is {now[name]}, was {before}" for name, before in self._facts.items() if now[name] != before]
        if files > self._files + FILES:
            found.append(f"{files} files are open, after the third entry there were {self._files}")
        return "; ".join(found) or None


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
        "the working directory": _folder(),
    }
    handlers = {f"the handler of {number.name}": signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    return facts | handlers


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "one that was removed"


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
