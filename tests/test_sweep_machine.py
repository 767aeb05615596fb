"""Sweeps with real processes, sockets and file systems, on a machine that is at fault for a while, beside servers that are."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweeping import SECURITYNET, Zoo, finish, lines_of, start, table, wait_for, weights_of, zoo
from web import serve

QUICK = ("--test-every", "0.3", "--patience", "120", "--attacks", "membership/loss")
SMALL = 6_000_000  # bytes of a small file system


class Following:
    """A sweep that runs, and what it said so far: the lines of JSON on its stderr."""

    def __init__(self, command: list[str]) -> None:
        self.lines: list[dict[str, Any]] = []
        self.process = start([*command, "--json"])
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(json.loads(line) if line.startswith("{") else {"noticed": line})

    def noticed(self, words: str) -> bool:
        """Say whether the sweep has said something with these words."""
        return any(words in line.get("noticed", "") for line in self.lines)

    def end(self) -> tuple[int, dict[str, Any]]:
        """Return exit code and JSON, when the sweep has ended by itself."""
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        code = self.process.wait(timeout=240)
        self._reader.join()
        return code, json.loads(output) if output else {}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """Three healthy models behind one server."""
    with zoo(tmp_path_factory.mktemp("zoo")) as made:
        for number in range(3):
            made.add(f"healthy-{number}", weights_of("regular", number + 1))
        yield made


@pytest.fixture(scope="module")
def undisturbed(models: Zoo) -> dict[str, dict[str, Any]]:
    """The rows of a sweep that nothing befalls."""
    folder = models.folder / "undisturbed"
    code, found, errors = finish(models.command(folder, "cache-undisturbed", *QUICK))
    assert code == 0 and found["ok"] == 3, errors
    return table(folder)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_network_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    ports = [closed_port(), closed_port()]
    with zoo(tmp_path / "zoo") as made:
        bodies = {f"/{number}.safetensors": weights_of("regular", number + 1) for number in range(6)}
        for number, (path, body) in enumerate(bodies.items()):
            made.add(f"m{number}", body, weights_url=f"http://127.0.0.1:{ports[number % 2]}{path}")
        sweep = Following(made.command(tmp_path / "out", "cache", *QUICK))
        wait_for(lambda: sweep.noticed("the network is gone") or sweep.process.poll() is not None)
        assert not any(line["event"] == "done" for line in lines_of(tmp_path / "out"))
        with serve(ports[0]) as one, serve(ports[1]) as other:
            for path, body in bodies.items():
                one.put(path, body)
                other.put(path, body)
            code, found = sweep.end()
    assert code == 0 and found["finished"] and (found["settled"], found["ok"]) == (6, 6), sweep.lines


def test_each_server_costs_its_own_models(models: Zoo, undisturbed: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Twenty addresses of a host that is dead, three of one that asks to wait longer than a download waits, and healthy ones."""
    dead = closed_port()
    with zoo(tmp_path / "zoo") as made:
        for number in range(20):
            url = f"http://127.0.0.1:{dead}/{number}.safetensors"
            made.add(f"dead-{number:02d}", weights_of("regular", 100 + number), weights_url=url)
        for number in range(3):
            made.add(f"busy-{number}", weights_of("regular", 50 + number))
            made.web.pages[f"/busy-{number}.safetensors"].refusals.append({"Retry-After": "12"})
        made.records |= models.records
        command = made.command(tmp_path / "out", "cache", *QUICK)
        command[command.index("--data") + 1] = str(models.images)
        code, found, errors = finish(command)
        asked = [path for path, _ in made.web.requests]
    assert code == 1 and found["finished"] and (found["settled"], found["ok"], found["failed"]) == (26, 6, 20), errors
    assert all("cannot be reached" in one["reason"] and "dead" in one["entry"] for one in found["failures"])
    assert "the network is gone" not in errors and "does not answer" not in errors
    assert "wants to be asked again in 12 s; other models go on" in errors
    assert sorted(asked) == sorted(f"/busy-{number}.safetensors" for number in (0, 0, 1, 1, 2, 2))  # as it was told
    ends = [line["entry"] for line in lines_of(tmp_path / "out") if line["event"] == "done" and line["status"] == "ok"]
    assert [entry.startswith("test/busy") for entry in ends] == [False] * 3 + [True] * 3  # nobody waited for them
    rows = {key: row for key, row in table(tmp_path / "out").items() if "healthy" in row["entry"]}
    assert rows == undisturbed


@contextlib.contextmanager
def file_system(folder: Path, *options: str) -> Iterator[Path]:
    """A small file system of its own."""
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)], capture_output=True).returncode
    ):
        pytest.skip("a file system can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until nothing more fits."""
    path = folder / "fill"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


@pytest.mark.parametrize("place", ["output", "cache"])
def test_a_full_disk_is_waited_for(models: Zoo, undisturbed: dict[str, dict[str, Any]], tmp_path: Path, place: str) -> None:
    with file_system(tmp_path / "small") as small:
        output, cache = (small / "out", tmp_path / "cache") if place == "output" else (tmp_path / "out", small / "cache")
        command = models.command(output, str(cache), *QUICK)
        if place == "cache":
            filled = fill(small)
            sweep = Following(command)
        else:
            sweep = Following(command)
            wait_for(lambda: (output / "sweep.json").exists() and any(line.get("jobs") for line in sweep.lines))
            filled = fill(small)
        wait_for(lambda: sweep.noticed("No space left on device") or sweep.process.poll() is not None)
        assert sweep.noticed("small"), sweep.lines  # it names the place
        filled.unlink()
        code, found = sweep.end()
        assert code == 0 and found["finished"] and found["ok"] == 3, sweep.lines
        assert table(output) == undisturbed


def test_a_cache_that_may_only_be_read_is_waited_for(models: Zoo, undisturbed: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    with file_system(tmp_path / "small") as small:
        (small / "cache").mkdir()
        remount(small, "ro")
        sweep = Following(models.command(tmp_path / "out", str(small / "cache"), *QUICK))
        wait_for(lambda: sweep.noticed("Read-only file system") or sweep.process.poll() is not None)
        assert sweep.noticed("small"), sweep.lines
        remount(small, "rw")
        code, found = sweep.end()
    assert code == 0 and found["finished"] and found["ok"] == 3, sweep.lines
    assert table(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_directory_that_cannot_be_written_at_all_is_named(models: Zoo, tmp_path: Path, fault: str) -> None:
    with file_system(tmp_path / "small") as small:
        if fault == "full":
            fill(small)
        else:
            remount(small, "ro")
        code, found, errors = finish(models.command(small / "out", "cache-named", *QUICK))
    assert code in (1, 2) and not found and "Traceback" not in errors
    assert "small" in errors and ("No space left on device" if fault == "full" else "Read-only file system") in errors
    assert len(errors.strip().splitlines()) == 1 and SECURITYNET
