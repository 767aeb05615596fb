"""The process, or each process of a torchrun world, that evaluates: `python -m securitynet.sweep.worker`, asked by the driver."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import resource
import threading
import time
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from securitynet.sweep.serve import Message, Owner, answered

if TYPE_CHECKING:
    from securitynet.attacks.protocols import Attack
    from securitynet.data import ImageSet

IDLE = timedelta(days=30)  # a world that waits for a download must not be taken for a broken one
SHARE = 0.8


def main() -> None:
    """Answer until told to stop; all processes of the world work on the same message."""
    from accelerate import PartialState

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("securitynet").setLevel(logging.DEBUG)  # tracebacks of attacks that fail, among others
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=IDLE)
    owner = Owner() if state.is_main_process else None
    if owner is None:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _limit_memory(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    images = Images()
    while not (message := _shared(owner, state.num_processes)).get("stop"):
        reply = answered(images.handle, message)
        if owner is not None:
            owner.answer(reply)


def _shared(owner: Owner | None, processes: int) -> Message:
    """The owner's next message, on every process."""
    messages: list[Any] = [owner.next() if owner is not None else None]
    if processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(messages)
    message: Message = messages[0]
    return message


def _end_with(parent: int) -> None:
    """Only the first process hears of the owner's end; the others see their parent's."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _limit_memory(processes: int) -> None:
    """Without a GPU, let a too large batch fail as an allocation, which is tried again with half of it, before the system kills for it."""
    if torch.cuda.is_available():
        return
    free = min(psutil.virtual_memory().available + psutil.Process().memory_info().rss, *_group_limits())
    with contextlib.suppress(OSError, ValueError):  # where a lower limit stands already
        resource.setrlimit(resource.RLIMIT_DATA, (int(SHARE * free / processes), resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _group_limits() -> list[int]:
    """The memory that containers and cluster jobs grant: limits of this process's control group and those above it (Linux)."""
    own = Path("/proc/self/cgroup")
    place = own.read_text(encoding="utf-8").strip().rpartition("::/")[2] if own.exists() else ""
    groups = [Path("/sys/fs/cgroup", *place.split("/")[:depth]) / "memory.max" for depth in range(len(place.split("/")) + 1)]
    texts = [group.read_text(encoding="ascii").strip() for group in groups if group.exists()]
    return [2**62, *(int(text) for text in texts if text.isdigit())]


@cache
def _resolved(*attacks: str) -> tuple[Attack, ...]:
    from securitynet.attacks.resolve import resolve

    return tuple(resolve(list(attacks)))


def _named(attacks: list[str]) -> dict[tuple[str, str], Attack]:
    """The attacks by (name, params)."""
    from securitynet.attacks.protocols import params_of
    from securitynet.attacks.resolve import name_of

    return {(name_of(attack), params_of(attack)): attack for attack in _resolved(*attacks)}


class Images:
    """Answers messages; the images that entries share, read once as long as one entry after the other wants the same."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._set: ImageSet | None = None

    def handle(self, message: Message) -> Message:
        """Return {"attacks": [[name, params], ...]} of a message with "attacks" alone, else what was found about its "entry"."""
        attacks = _named(message["attacks"])
        if "entry" not in message:
            return {"attacks": list(attacks)}
        start = time.perf_counter()
        try:
            rows = self._rows(message, [attacks[name, params] for name, params in message["missing"]])
        finally:
            _give_back()
        return {"rows": rows, "seconds": time.perf_counter() - start, "memory": psutil.Process().memory_info().rss}

    def _rows(self, message: Message, attacks: list[Attack]) -> list[dict[str, Any]]:
        from securitynet.entry import Entry
        from securitynet.evaluation import evaluate

        entry = Entry.from_record(message["entry"])
        options = {name: message[name] for name in ("seed", "samples", "batch_size", "offline")}
        result = evaluate(entry, self._images(entry, message), attacks, cache_dir=message["cache"], **options)
        return [row.to_record() for row in result.rows]

    def _images(self, entry: Any, message: Message) -> ImageSet | None:
        """The images of the entry's dataset; None where files beside its weights say who its members are."""
        from securitynet.data.readers import image_set

        if message["data"] is None and (entry.members_file or not entry.dataset):
            return None
        wish = {"data": message["data"], "samples": message["samples"], "seed": message["seed"], "offline": message["offline"]}
        key = (entry.dataset, entry.num_classes, len(entry.input_size or ()), *wish.values())
        if key != self._key:
            self._key = self._set = None
            self._set = image_set(entry, cache=Path(message["cache"]), **wish)
            self._key = key
        return self._set


def _give_back() -> None:
    """Return memory to the system and to the GPU: the next entry starts where this one did.

    What is there after the first entry (libraries, above all) stays, and is not gone through again: that took longer than the rest.
    """
    gc.collect()
    if not gc.get_freeze_count():
        gc.freeze()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main()
