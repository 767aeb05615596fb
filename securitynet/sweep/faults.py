"""Whose fault it is: the entry's, or the machine's (its disk, its network)."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from securitynet.download.http import Busy, is_loopback
from securitynet.download.hub import Unreachable
from securitynet.entry import Entry
from securitynet.errors import SecurityNetError

DISK, NETWORK = "disk", "network"
FULL = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
EQUAL = 3  # failures of one kind, one after the other, that make the machine itself suspect
BYTES = 1_000_000  # that are written to test a disk
AGAIN, ANSWER = 60.0, 10.0  # seconds between two tests while the sweep waits; that a host may take to answer
HUB = "https://huggingface.co"
ASKED = 6  # hosts at most, each as long as it may take, until one answers


def kind_of(error: BaseException | None) -> str | None:
    """Return what of the machine an error may be about, going through its causes: disk, network, or None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return DISK
        if _is_of_network(error):
            return NETWORK
        error = error.__cause__ or error.__context__
    return None


def path_of(error: BaseException | None) -> str | None:
    """Return the file that an error of the disk is about."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return None if error.filename is None else str(error.filename)
        error = error.__cause__ or error.__context__
    return None


def _is_of_network(error: BaseException) -> bool:
    """Say whether a server could not be reached, broke off, or asks to come later."""
    from huggingface_hub.utils import httpx

    transport = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
    return transport or isinstance(error, Busy) or (isinstance(error, Unreachable) and error.transient)


def of_disk(error: OSError) -> dict[str, Any]:
    """Return what a process would answer that failed for a disk which is full or may only be read. Other errors are raised again."""
    if error.errno not in FULL:
        raise error
    return {"error": f"{type(error).__name__}: {error}", "fault": DISK, "path": path_of(error)}


def hub() -> str:
    """Return the address of the Hub, or of the mirror that stands for it."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB


def host_of(entry: Entry) -> str | None:
    """Return the address of the host that has the weights of an entry; None where they are here."""
    if entry.hub_id and not entry.weights_url:
        return hub()
    parts = urlsplit(entry.weights_url or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else None


def written(action: Callable[[], object]) -> str | None:
    """Do what writes; return what is wrong where the disk is full or may only be read. Other errors are raised."""
    try:
        action()
    except OSError as error:
        if error.errno not in FULL:
            raise
        return f"{error.filename or 'the directory of the sweep'} cannot be written ({error.strerror})"
    return None


@dataclass
class Machine:
    """Tests what the machine offers; `places` are written to, `hosts` are those of the plan. `say` is called with what is wrong.

    `patience`: seconds that it waits in all for the machine to be well, `again` between two tests. `answered`: hosts that
    weights have come from.
    """

    places: Sequence[Path]
    hosts: Sequence[str]
    patience: float
    stop: Callable[[], bool]
    say: Callable[[str], None]
    again: float = AGAIN
    answered: set[str] = field(default_factory=set)

    def wrong(self, kind: str, places: Iterable[str | None], hosts: Iterable[str | None]) -> str | None:
        """Return what is wrong with the machine, after failures of a kind at these places or hosts.

        None: nothing is, so the failures are the entries' own.
        """
        return self._disk(places) if kind == DISK else self._network({host for host in hosts if host})

    def _disk(self, more: Iterable[str | None]) -> str | None:
        for place in dict.fromkeys([*(Path(name).parent for name in more if name), *self.places]):
            try:
                _write(place)
            except OSError as error:
                return f"{place} cannot be written ({error.strerror})"
        return None

    def _network(self, failing: set[str]) -> str | None:
        """Ask hosts until one answers: those that answered before, others of the plan, the Hub, and those that fail.

        A single host that fails, of which nothing is known and which nothing can be compared with, is at fault itself: so it is
        with an address of this machine, for which the Hub says nothing.
        """
        others = [*sorted(self.answered), *(host for host in self.hosts if host not in failing)]
        if any(not is_loopback(host) for host in failing):
            others.append(hub())
        if not others and len(failing) == 1:
            return None
        asked = list(dict.fromkeys([*others[: ASKED - 2], *others[-1:], *sorted(failing)]))[:ASKED]
        if not asked or any(_answers(host) for host in asked):
            return None
        return f"the network is gone: none of {', '.join(asked)} answers" if len(asked) > 1 else f"{asked[0]} does not answer any more"

    def wait(self, test: Callable[[], str | None]) -> None:
        """Wait until test() finds nothing wrong, or a signal came. Raises SecurityNetError when patience is at its end."""
        deadline = time.monotonic() + self.patience
        while (cause := test()) is not None:
            if time.monotonic() >= deadline:
                raise SecurityNetError(f"{cause}; the sweep ends after {self.patience:.0f} s of waiting, run the same command to go on")
            self.say(f"{cause}; the sweep waits, and tests again every {self.again:g} s")
            end = min(deadline, time.monotonic() + self.again)
            while time.monotonic() < end:
                if self.stop():
                    return
                time.sleep(min(0.5, max(0.0, end - time.monotonic())))


def _write(folder: Path) -> None:
    """Write and delete a file. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".probe"
    try:
        path.write_bytes(bytes(BYTES))
    finally:
        path.unlink(missing_ok=True)


def _answers(host: str) -> bool:
    """Say whether a host answers at all, whatever it says."""
    from huggingface_hub.utils import httpx

    try:
        httpx.head(host, timeout=ANSWER)
    except httpx.HTTPError:
        return False
    return True
