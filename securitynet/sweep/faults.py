"""Whose fault it is: the entry's, or the machine's (its disk, its network)."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from securitynet.entry import Entry
from securitynet.errors import SecurityNetError

DISK, NETWORK = "disk", "network"
FULL = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
EQUAL = 3  # failures of one kind, one after the other, that make the machine itself suspect
BYTES = 1_000_000  # that are written to test a disk
AGAIN, ANSWER = 60.0, 10.0  # seconds between two tests while the sweep waits; that a host may take to answer
HUB = "https://huggingface.co"


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
    """Say whether a server could not be reached, broke off, or asks to come later. What was not imported cannot have failed."""
    if "securitynet.download.http" not in sys.modules:
        return False
    from huggingface_hub.utils import httpx

    from securitynet.download.http import Busy

    transport = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
    return transport or isinstance(error, Busy)


def host_of(entry: Entry) -> str | None:
    """Return the address of the host that has the weights of an entry; None where they are here."""
    if entry.hub_id and not entry.weights_url:
        return HUB
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
    """Tests what the machine offers; `places` are written to, `hosts` are those of the plan. `say` is called with what is wrong."""

    places: Sequence[Path]
    hosts: Sequence[str]
    patience: float
    stop: Callable[[], bool]
    say: Callable[[str], None]
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
        """Two other hosts of the plan; where there is none, those that have answered before, or several that fail at once."""
        own = sorted(self.answered & failing) or (sorted(failing) if len(failing) > 1 else [])
        asked = ([host for host in self.hosts if host not in failing] or own)[:2]
        if not asked or any(_answers(host) for host in asked):
            return None
        return f"the network is gone: neither {' nor '.join(asked)} answers" if len(asked) > 1 else f"{asked[0]} does not answer any more"

    def wait(self, test: Callable[[], str | None]) -> None:
        """Wait until test() finds nothing wrong, or a signal came. Raises SecurityNetError when patience is at its end."""
        deadline = time.monotonic() + self.patience
        while (cause := test()) is not None:
            if time.monotonic() >= deadline:
                raise SecurityNetError(f"{cause}; the sweep ends after {self.patience:.0f} s of waiting, run the same command to go on")
            self.say(f"{cause}; the sweep waits, and tests again every {AGAIN:.0f} s")
            end = min(deadline, time.monotonic() + AGAIN)
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
