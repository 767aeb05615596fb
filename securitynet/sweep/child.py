"""A child process that answers JSON messages over a Unix socket, one at a time; it may die or hang, its owner goes on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from securitynet.errors import SecurityNetError

SOCKET, PREFIX = "SECURITYNET_SWEEP_SOCKET", "securitynet-sweep-"
STARTING, ENDING = 600.0, 10.0  # seconds
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "TORCH_NCCL_")


class Lost(Exception):
    """The child died or did not answer in time; the text says which. `late`: it did not answer in time. `ended`: it had SIGTERM."""

    def __init__(self, text: str, late: bool = False, ended: bool = False) -> None:
        super().__init__(text)
        self.late, self.ended = late, ended


class Child:
    """A process started by `command` when it is first asked, and again after it was lost. Its output goes to the file `log`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.command, self.environment, self.log = list(command), dict(environment), log
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._closed = False
        self._number = 0

    def ask(self, message: Mapping[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """Return the answer to `message`; the time to start is not counted. Raises Lost, SecurityNetError where it cannot start."""
        connection = self._connected()
        self._number += 1
        try:
            connection.send_bytes(json.dumps({**message, "number": self._number}).encode())
            answer = received(connection, self._number, seconds)
            if answer is not None:
                return answer
        except (EOFError, OSError):
            raise self._lost() from None
        self._show_where_it_is()
        self.kill()
        raise Lost(f"did not end within {seconds:g} s", late=True)

    def _show_where_it_is(self) -> None:
        """Have it write its stack into the log (see serve.answered); of torchrun, the processes below it."""
        if self._process is not None:
            processes = _tree(self._process.pid)
            for process in processes[1:] or processes:
                process.send_signal(signal.SIGUSR1)
            time.sleep(0.2)

    def stop(self) -> None:
        """Ask the process to end, and end it where it does not."""
        if self._connection is not None and self._process is not None and self._process.poll() is None:
            try:
                self._connection.send_bytes(b'{"stop": true}')
                self._process.wait(ENDING)
            except (OSError, subprocess.TimeoutExpired):
                pass
        self.kill()

    def close(self) -> None:
        """End the process now and for good: a question that comes after this, or waits for its answer, gets Lost."""
        self._closed = True
        self.kill()

    def kill(self) -> None:
        """End the process and all that it started, now; another thread that waits for its answer gets Lost."""
        if self._process is not None:
            for process in _tree(self._process.pid):
                process.kill()
            self._process.wait()
        self._process = None
        if self._connection is not None:
            self._connection.close()  # what torchrun leaves behind ends with it
            self._connection = None

    def _connected(self) -> Connection:
        """The connection to a process that lives: a child that died between two questions did so for no fault of the next one."""
        connection, alive = self._connection, self._process is not None and self._process.poll() is None
        if alive and connection is not None and not connection.closed and not connection.poll():
            return connection
        self.kill()
        self._connection = self._started()
        return self._connection

    def _started(self) -> Connection:
        folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"{folder}/socket")
                listener.listen()
                listener.settimeout(0.1)
                environment = clean_environment() | self.environment | {SOCKET: f"{folder}/socket"}
                self.log.parent.mkdir(parents=True, exist_ok=True)
                with self.log.open("ab") as log:
                    self._process = subprocess.Popen(
                        self.command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                    )
                if self._closed:
                    self.kill()
                    raise Lost("was stopped")
                return self._accepted(listener)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _accepted(self, listener: socket.socket) -> Connection:
        deadline = time.monotonic() + STARTING
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            try:
                return Connection(listener.accept()[0].detach())
            except TimeoutError:
                continue
        self.kill()
        raise SecurityNetError(f"a process of the sweep does not start; {self.log} says why")

    def _lost(self) -> Lost:
        process = self._process
        return Lost(self._how_it_ended(), ended=process is not None and process.returncode == -signal.SIGTERM)

    def _how_it_ended(self) -> str:
        process = self._process
        if process is None:
            return "was stopped"
        try:
            code = process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.kill()
            return "closed its connection"
        self.kill()
        if code >= 0:
            return f"ended with exit code {code}"
        hint = " (so a system ends a process when memory runs out)" if -code == signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-code).name}{hint}"


def received(connection: Connection, number: int, seconds: float | None) -> dict[str, Any] | None:
    """Return the answer to message `number`, None where it does not come in time. A copy of the child may answer an earlier one again."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while connection.poll(None if deadline is None else max(0.0, deadline - time.monotonic())):
        answer: dict[str, Any] = json.loads(connection.recv_bytes())
        if answer.pop("number", None) == number:
            return answer
    return None


def clean_up() -> None:
    """Delete the temporary folders of drivers of this user that were killed."""
    import psutil

    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError):
            stat = path.lstat()
            dead = pid.isdigit() and not psutil.pid_exists(int(pid)) and time.time() - stat.st_mtime > STARTING
            if dead and path.is_dir() and stat.st_uid == os.getuid():  # young ones may be of another container
                shutil.rmtree(path, ignore_errors=True)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what torchrun puts there: a child is a world of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith(TORCHRUN)}


def _tree(pid: int) -> list[Any]:
    """The process and all its descendants, those that live."""
    import psutil

    try:
        root = psutil.Process(pid)
        return [process for process in (root, *root.children(recursive=True)) if process.is_running()]
    except psutil.NoSuchProcess:
        return []
