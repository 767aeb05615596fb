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

from securitynet.sweep.serve import Message, Owner, answered, stand_by
from securitynet.sweep.shared import Shared

if TYPE_CHECKING:
    from securitynet.attacks.protocols import Attack
    from securitynet.data import ImageSet
    from securitynet.results.result import Result

IDLE = timedelta(days=30)  # a world that waits for a download must not be taken for a broken one
SHARE, COUNTED_EVERY = 0.8, 60.0  # of the memory, for all workers together; seconds


def main() -> None:
    """Answer until told to stop; all processes of the world work on the same message."""
    from accelerate import PartialState

    stand_by()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("securitynet").setLevel(logging.DEBUG)  # tracebacks of attacks that fail, among others
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=IDLE)
    owner = Owner() if state.is_main_process else None
    if owner is None:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    limit, images = MemoryLimit(int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), Images()
    limit.update()
    while not (message := _shared(owner, state.num_processes)).get("stop"):
        limit.update()
        reply = answered(images.handle, message)
        if "entry" in message:
            changes = (reply.get("spoiled"), images.shared.changed(), images.changed())
            reply["changed"] = "; ".join(dict.fromkeys(what for what in changes if what)) or None
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


class MemoryLimit:
    """Without a GPU, let a too large batch fail as an allocation, which is tried again with half of it, before the system kills for it.

    All workers of the machine, whichever sweep or shard they belong to, share what it has; they are counted again now and then.
    """

    def __init__(self, processes: int) -> None:
        self._processes, self._next = processes, 0.0

    def update(self) -> None:
        """Set the limit of this process, unless that was done just now."""
        if torch.cuda.is_available() or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + COUNTED_EVERY
        held = _held_by_workers()
        free = min(psutil.virtual_memory().available + sum(held), *_group_limits())
        with contextlib.suppress(OSError, ValueError):  # where a lower limit stands already
            limit = int(SHARE * free / max(self._processes, len(held)))
            resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _held_by_workers() -> list[int]:
    """The bytes that each worker on this machine holds, this one among them."""
    own, found = psutil.Process().pid, []
    for process in psutil.process_iter(["pid", "cmdline", "memory_info"]):
        command = process.info["cmdline"] or []
        if process.info["pid"] == own or ("securitynet.sweep.worker" in command and "torch.distributed.run" not in command):
            found.append(process.info["memory_info"].rss if process.info["memory_info"] else 0)
    return found


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
        self._mark = 0
        self.shared = Shared()

    def handle(self, message: Message) -> Message:
        """Return {"attacks": [[name, params], ...]} of a message with "attacks" alone, else what was found about its "entry".

        A message with "probe" alone, seconds, gets {"speed": multiply-accumulates per second of this process}.
        """
        if "probe" in message:
            return {"speed": _speed(message["probe"])}
        attacks = _named(message["attacks"])
        if "entry" not in message:
            return {"attacks": list(attacks)}
        start = time.perf_counter()
        try:
            with self.shared.around(message["entry"]["id"], message["seed"]):
                result = self._result(message, [attacks[name, params] for name, params in message["missing"]])
                rows, odd, spoiled = [row.to_record() for row in result.rows], result.unexpected, result.spoiled
            del result
        finally:
            _give_back()
        return {
            "rows": rows,
            "odd": odd,
            "spoiled": spoiled,
            "seconds": time.perf_counter() - start,
            "memory": psutil.Process().memory_info().rss,
        }

    def _result(self, message: Message, attacks: list[Attack]) -> Result:
        from securitynet.attacks.resolve import named
        from securitynet.entry import Entry
        from securitynet.evaluation import Subject
        from securitynet.inputs import Options

        entry = Entry.from_record(message["entry"])
        names = ("seed", "samples", "batch_size", "offline", "dtype", "channels_last")
        options = Options(Path(message["cache"]), **{name: message[name] for name in names})
        subject = Subject.of(entry, self._images(entry, message), None, (), options)
        return subject.evaluated(named(attacks), lambda: self.shared.broken() or self.changed())

    def _images(self, entry: Any, message: Message) -> ImageSet | None:
        """The images of the entry's dataset; None where files beside its weights say who its members are."""
        from securitynet.data.readers import image_set

        if message["data"] is None and (entry.members_file or not entry.dataset):
            return None
        wish = {"data": message["data"], "samples": message["samples"], "seed": message["seed"], "offline": message["offline"]}
        key = (entry.dataset, entry.classes, entry.class_names, len(entry.input_size or ()), *wish.values())
        if key != self._key:
            self._key = self._set = None
            self._set = image_set(entry, cache=Path(message["cache"]), **wish)
            self._key, self._mark = key, _mark_of(self._set)
        return self._set

    def changed(self) -> str | None:
        """Say that an entry changed the images that the next one would be shown."""
        return "the images were written to" if self._set is not None and _mark_of(self._set) != self._mark else None


def _mark_of(images: ImageSet) -> int:
    """A checksum of those images and labels that lie in memory."""
    from securitynet.attacks.intact import checksum
    from securitynet.data import ArrayImages

    parts = [part for part in (images.train, images.test) if part is not None]
    return checksum([*(part.labels for part in parts), *(part.pixels for part in parts if isinstance(part, ArrayImages))])


def _speed(seconds: float) -> float:
    from accelerate import PartialState

    from securitynet.sweep.probe import speed

    return speed(seconds, PartialState().device)


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
