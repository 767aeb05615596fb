"""Whose fault a failure is: of an entry, of the one before it, of the machine."""

from __future__ import annotations

import errno
import os
import random
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from web import serve

from securitynet.download import http
from securitynet.entry import Entry
from securitynet.errors import DownloadError, SecurityNetError
from securitynet.results.row import Row
from securitynet.sweep import faults, serial
from securitynet.sweep.child import PREFIX, Lost, clean_up
from securitynet.sweep.faults import DISK, NETWORK, Machine, host_of, hub, kind_of, path_of
from securitynet.sweep.plan import Job, Settings
from securitynet.sweep.rounds import Rounds
from securitynet.sweep.state import Outcome


def job(name: str, host: str = "https://a") -> Job:
    return Job(Entry(id=f"test/{name}", dataset="CIFAR-10", loader="checkpoint", weights_url=f"{host}/{name}"), 0)


def good(of: Job) -> Outcome:
    return Outcome(of, (Row(entry=of.entry.id, attack="query"),), (0.0, 1.0), (1.0, 2.0), reached=True)


def bad(of: Job, kind: str | None, path: str | None = None) -> Outcome:
    return serial.failed(of, "it failed", fault=kind, path=path)


class Bench:
    """A sweep without a directory: what was booked, what was said, and which hosts answer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, patience: float = 60.0) -> None:
        self.booked: list[Outcome] = []
        self.said: list[str] = []
        self.dead: set[str] = set()
        self.asked: list[str] = []
        hosts = ["https://a", "https://b", "https://c"]
        self.machine = Machine((folder,), hosts, patience, lambda: False, self._say, 0.01)
        self.revive: Callable[[], None] = lambda: None
        monkeypatch.setattr(faults, "_answers", self._answers)

    def _answers(self, host: str) -> bool:
        self.asked.append(host)
        return host not in self.dead

    def _say(self, text: str) -> None:
        self.said.append(text)
        if len(self.said) == 3:
            self.revive()

    def run(self, jobs: list[Job], evaluate: Callable[[Job, int], Outcome]) -> list[list[str]]:
        """Run all rounds; return who was evaluated in each."""
        rounds = Rounds(self.machine, self.booked.append, {one.key: one for one in jobs})
        todo, found = list(jobs), []
        while todo:
            found.append([one.entry.id for one in todo])
            for one in todo:
                rounds.take(evaluate(one, len(found)))
            todo = rounds.next()
        assert rounds.booked == len(self.booked) == len(jobs)
        return found


def test_dead_addresses_of_one_host_are_the_entries_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    jobs = [*(job(f"dead-{number}") for number in range(20)), job("alive", "https://b")]
    rounds = bench.run(jobs, lambda one, _: bad(one, NETWORK) if "dead" in one.entry.id else good(one))
    assert [len(names) for names in rounds] == [21, 20] and not bench.said  # each had one more try at the end
    assert set(bench.asked) <= {"https://b", "https://c"}
    assert sum(outcome.status == "failed" for outcome in bench.booked) == 20


def test_a_network_that_is_gone_for_a_while_costs_nobody_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    bench.dead = {"https://a", "https://b", "https://c", hub()}
    bench.revive = bench.dead.clear
    jobs = [job(f"m{number}", f"https://{'abc'[number % 3]}") for number in range(9)]
    bench.run(jobs, lambda one, _: bad(one, NETWORK) if host_of(one.entry) in bench.dead else good(one))
    assert len(bench.said) == 3 and "the network is gone" in bench.said[0]
    assert {outcome.status for outcome in bench.booked} == {"ok"}


def test_the_only_host_counts_as_the_network_if_it_answered_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    bench.machine.hosts = ["https://a"]
    jobs = [job(f"m{number}") for number in range(6)]

    def evaluate(one: Job, _: int) -> Outcome:
        if len(bench.booked) == 2:
            bench.dead = {"https://a", hub()} if not bench.said else set()
        return bad(one, NETWORK) if bench.dead else good(one)

    bench.revive = lambda: bench.dead.clear()
    bench.run(jobs, evaluate)
    assert "the network is gone" in bench.said[0] and {outcome.status for outcome in bench.booked} == {"ok"}


@pytest.mark.parametrize(
    ("host", "silent", "booked"),
    [("https://a", False, True), ("https://a", True, False), ("http://127.0.0.1:9", True, True)],
)
def test_a_single_host_is_compared_with_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, silent: bool, booked: bool
) -> None:
    """Where the Hub answers, the host is at fault; where nobody does, the network; an address of this machine stands for itself."""
    bench = Bench(tmp_path, monkeypatch, patience=0.05)
    bench.machine.hosts, bench.dead = [host], {host, *([hub()] if silent else [])}
    jobs = [job(f"m{number}", host) for number in range(6)]
    if booked:
        bench.run(jobs, lambda one, _: bad(one, NETWORK))
        assert len(bench.booked) == 6 and not bench.said
    else:
        with pytest.raises(SecurityNetError, match="none of"):
            bench.run(jobs, lambda one, _: bad(one, NETWORK))
        assert not bench.booked


def test_dead_hosts_of_the_plan_do_not_hide_that_one_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    bench.machine.hosts = [f"https://dead-{number}" for number in range(5)] + ["https://alive"]
    bench.dead = {*bench.machine.hosts[:-1], hub()}
    jobs = [job("alive", "https://alive"), *(job(f"m{number}", f"https://dead-{number % 5}") for number in range(12))]
    bench.run(jobs, lambda one, _: bad(one, NETWORK) if host_of(one.entry) in bench.dead else good(one))
    assert not bench.said and len(bench.booked) == 13


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    full = [True]

    def write(folder: Path) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(faults, "_write", write)
    bench.revive = full.clear
    rounds = bench.run([job("a"), job("b")], lambda one, _: bad(one, DISK, "/cache/x") if full else good(one))
    assert rounds == [["test/a", "test/b"], ["test/a"]] and {outcome.status for outcome in bench.booked} == {"ok"}
    assert bench.said[0].startswith("/cache cannot be written (No space left on device); the sweep waits")


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, patience=0.05)
    bench.dead = {"https://a", "https://b", "https://c", hub()}
    with pytest.raises(SecurityNetError, match=r"the network is gone: none of .* answers; .* run the same command to go on"):
        bench.run([job(f"m{number}") for number in range(5)], lambda one, _: bad(one, NETWORK))
    assert not bench.booked


def test_a_directory_that_is_full_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    rounds = Rounds(bench.machine, bench.booked.append, {})
    tries: list[int] = []

    def write() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.EDQUOT, "Disk quota exceeded", "/out/rows/00000.jsonl")

    rounds.write(write)
    assert len(tries) == 3 and "/out/rows/00000.jsonl cannot be written (Disk quota exceeded)" in bench.said[0]
    with pytest.raises(PermissionError):
        rounds.write(lambda: (_ for _ in ()).throw(PermissionError(errno.EACCES, "Permission denied")))


def test_the_causes_of_an_error_say_whose_fault_it_is() -> None:
    from huggingface_hub.utils import httpx

    full = OSError(errno.ENOSPC, "No space left on device", "/cache/file")
    assert (kind_of(full), path_of(full)) == (DISK, "/cache/file")
    for cause, kind in (
        (httpx.ConnectError("no route"), NETWORK),
        (http.Busy("the server answers 503"), NETWORK),
        (httpx.UnsupportedProtocol("ftp"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (full, DISK),
    ):
        try:
            raise DownloadError("it cannot be had") from cause
        except DownloadError as error:
            assert kind_of(error) == kind
    assert kind_of(ValueError("a value")) is None


@contextmanager
def refusing(answers: list[dict[str, str]]) -> Iterator[str]:
    """A server that answers 429 with these headers, one after the other, then the file."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            busy = bool(answers)
            self.send_response(429 if busy else 200)
            for name, value in (answers.pop(0) if busy else {"Content-Length": "4"}).items():
                self.send_header(name, value)
            self.end_headers()
            if not busy:
                self.wfile.write(b"body")

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/file"
    server.shutdown()


def test_a_server_that_says_when_to_come_back_is_listened_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 40))
    with refusing(
        [{"Retry-After": str(number)} for number in (3, 90, 7, 2, 11)] + [{"Retry-After": date}, {}, {"Retry-After": "soon"}]
    ) as url:
        http.transfer(http.Request("x", url), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"body"
    assert slept[:5] == [3, 90, 7, 2, 11] and 35 < slept[5] <= 40 and len(slept) == 8
    with refusing([{"Retry-After": "7200"}] * 9) as url, pytest.raises(DownloadError, match="429"):
        http.transfer(http.Request("x", url), tmp_path / "other")
    assert len(slept) == 8  # longer than anyone waits: given up at once


class Scripted:
    """A child whose answers are given; each start of the process is counted."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.stops = list(answers), 0

    def ask(self, message: Any, seconds: float | None = None) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def stop(self) -> None:
        self.stops += 1


def world(tmp_path: Path, *answers: Any) -> tuple[serial.World, Scripted]:
    made, child = serial.World(Settings(cache=str(tmp_path)), tmp_path / "logs"), Scripted(*answers)
    made._child = child  # type: ignore[assignment]
    return made, child


def rows(status: str = "ok", **more: Any) -> dict[str, Any]:
    return {"rows": [Row(entry="test/a", attack="a", status=status).to_record()], "seconds": 1.0, "memory": 10**8, **more}


UNEXPECTED = {"error": "RuntimeError: odd", "unexpected": True}
EXPECTED = {"error": "the weights do not fit", "unexpected": False}


@pytest.mark.parametrize(
    ("answers", "status", "stops"),
    [
        ((UNEXPECTED, rows()), "ok", 1),  # once more, in a fresh process
        ((UNEXPECTED, UNEXPECTED), "failed", 1),
        ((EXPECTED,), "failed", 0),
        ((Lost("was killed by SIGSEGV"),), "failed", 0),  # it was alone in that process
        ((rows("failed", odd=["a"]),), "failed", 0),
    ],
)
def test_what_nobody_foresaw_is_tried_in_a_fresh_process(tmp_path: Path, answers: Any, status: str, stops: int) -> None:
    made, child = world(tmp_path, *answers)
    assert (made.evaluate(job("a")).status, child.stops, child.answers) == (status, stops, [])


@pytest.mark.parametrize("first", [Lost("was killed by SIGSEGV"), rows("failed", odd=["a"]), UNEXPECTED])
def test_a_failure_after_others_may_be_theirs(tmp_path: Path, first: Any) -> None:
    made, child = world(tmp_path, rows(), first, rows(), Lost("did not end within 3 s", late=True))
    assert [made.evaluate(job("a")).status for _ in range(3)] == ["ok", "ok", "failed"] and not child.answers


@pytest.mark.parametrize("refusal", [EXPECTED, rows("failed", odd=[])])
def test_a_clear_refusal_restarts_nothing(tmp_path: Path, refusal: Any) -> None:
    made, child = world(tmp_path, rows(), refusal, rows())
    assert [made.evaluate(job("a")).status for _ in range(3)] == ["ok", "failed", "ok"] and not child.stops


def test_a_process_that_was_changed_is_replaced_and_the_culprit_named(tmp_path: Path) -> None:
    made, child = world(tmp_path, rows(changed="the default dtype is torch.float64, was torch.float32"), rows())
    assert "torch.float64" in (made.evaluate(job("a")).changed or "") and child.stops == 1
    assert made.evaluate(job("b")).changed is None and child.stops == 1


def test_a_full_disk_of_a_worker_is_no_failure_of_the_model(tmp_path: Path) -> None:
    made, _ = world(tmp_path, {"error": "OSError", "unexpected": True, "fault": DISK, "path": "/cache/x"})
    outcome = made.evaluate(job("a"))
    assert (outcome.fault, outcome.path) == (DISK, "/cache/x")


def test_shared_state_is_put_back_or_named(tmp_path: Path) -> None:
    import numpy as np
    import torch

    from securitynet.sweep.shared import Shared

    shared = Shared()
    drawn = []
    for _ in range(2):
        random.seed()
        with shared.around("test/a", 3):
            drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
            os.environ["SECURITYNET_TEST"] = "1"
            warnings.simplefilter("error")
            np.seterr(all="raise")
        assert "SECURITYNET_TEST" not in os.environ and shared.changed() is None and np.geterr()["over"] != "raise"
    assert drawn[0] == drawn[1]
    folder, handler, threads = os.getcwd(), signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    changes: list[tuple[Callable[[], object], Callable[[], object], str]] = [
        (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32), "default dtype"),
        (lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True), "gradients"),
        (lambda: torch.use_deterministic_algorithms(True), lambda: torch.use_deterministic_algorithms(False), "deterministic"),
        (lambda: os.chdir(tmp_path), lambda: os.chdir(folder), "working directory"),
        (
            lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
            lambda: signal.signal(signal.SIGTERM, handler),
            "SIGTERM",
        ),
        (lambda: torch.set_num_threads(7), lambda: torch.set_num_threads(threads), "threads"),
    ]
    for change, back, words in changes:
        change()
        try:
            assert words in (shared.changed() or "")
        finally:
            back()
        assert shared.changed() is None
    files = [(tmp_path / str(number)).open("w") for number in range(20)]
    assert "files are open" in (shared.changed() or "")
    for file in files:
        file.close()


def test_folders_of_killed_drivers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, young, living = (tmp_path / f"{PREFIX}{pid}-x" for pid in (2**22 + 1, 2**22 + 2, os.getpid()))
    for folder in (dead, young, living, tmp_path / "securitynet-other"):
        folder.mkdir()
        if folder != young:
            os.utime(folder, (1.0, 1.0))
    clean_up()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([young.name, living.name, "securitynet-other"])


def test_the_whole_catalog_has_to_be_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from securitynet import cli

    assert cli.main(["sweep", "--output", str(tmp_path / "out")]) == 2
    assert "--all for the whole catalog" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_host_that_answers_anything_answers() -> None:
    with serve() as web:
        address = web.put("/x", b"", status=500)
        assert faults._answers(address)
    assert not faults._answers("http://127.0.0.1:9")
