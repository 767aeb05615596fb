"""A model of another library in a process of its own: started, connected, and ended with what holds it."""

from __future__ import annotations

import json
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from securitynet import serve
from securitynet.endpoint import Http
from securitynet.errors import EndpointError, LoadError

SCRIPT = Path(__file__).with_name("serving.py")
PATIENCE = 3600.0  # seconds that one request may take: a large network on a few cores is slow, and its process is watched


class Process:
    """A running server: `url`, and `facts`, what it said about itself. It ends with this object, or with this Python."""

    def __init__(self, label: str, python: Path, library: str, request: Mapping[str, Any]) -> None:
        """Start it and wait until the network is built. Raises LoadError with its reason."""
        self.label = label
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  it is read when the process has ended
        command = [str(python), str(SCRIPT), library, serve.__file__]
        try:
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        except OSError as error:
            raise LoadError(f"{label}: {python} cannot be started ({error.strerror})") from error
        self._end = weakref.finalize(self, _end, self._child, self._errors)
        self.facts = self._told(request)
        self.url = str(self.facts["url"])

    @property
    def ended(self) -> str | None:
        """How it ended, with its last words; None while it runs."""
        code = self._child.poll()
        if code is None:
            return None
        words = f": {self._last_words()}" if self._last_words() else ""
        return f"its process ended ({f'signal {-code}' if code < 0 else f'exit code {code}'}){words}"

    def _told(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # it says why below
        for line in self._child.stdout:
            if line.startswith("{"):  # some libraries print when they are imported
                facts: dict[str, Any] = json.loads(line)
                if "problem" in facts:
                    self._end()
                    raise LoadError(f"{self.label}: {facts['problem']}")
                return facts
        self._child.wait()
        raise LoadError(f"{self.label}: {self.ended}")

    def _last_words(self) -> str:
        size = self._errors.seek(0, 2)
        self._errors.seek(max(0, size - 2000))
        lines = [line for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return " ".join(lines[-1:])[-300:]


def _end(child: subprocess.Popen[str], errors: IO[bytes]) -> None:
    child.terminate()
    child.wait()
    for stream in (child.stdin, child.stdout, errors):
        if stream is not None:
            stream.close()


@dataclass(frozen=True)
class OwnHttp(Http):
    """The address of a process of ours: while it runs it answers in the end, and when it has ended nothing is tried again."""

    timeout: float = PATIENCE
    process: Process | None = field(default=None, repr=False)

    def post(self, url: str, data: bytes | None, kind: str = "application/x-npy") -> bytes:
        """Return the body of the answer. Raises EndpointError where the process has ended."""
        try:
            return super().post(url, data, kind)
        except OSError as error:
            if self.process is not None and (ended := self.process.ended):
                raise EndpointError(f"{self.process.label}: {ended}") from error
            raise
