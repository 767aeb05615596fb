"""Whose fault a failure is: of an entry, of the one before it, of the machine."""

from __future__ import annotations

import errno
import gc
import json
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
from sweeping import job
from web import serve

from securitynet.download import http
from securitynet.download.hub import Repo, Unreachable
from securitynet.errors import DownloadError
from securitynet.results.row import Row
from securitynet.sweep import faults, serial
from securitynet.sweep.child import PREFIX, Lost, clean_up, received
from securitynet.sweep.faults import DISK, NETWORK, kind_of, path_of
from securitynet.sweep.fetchers import Waiting
from securitynet.sweep.functions import Functions
from securitynet.sweep.plan import SweepSettings


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
    made, child = serial.World(SweepSettings(cache=str(tmp_path)), tmp_path / "logs"), Scripted(*answers)
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

    from securitynet.sweep.shared import FILES, WARM, Shared

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
    gc.collect()  # files that earlier tests left are closed now, not between the two counts
    counted = Shared()
    for _ in range(WARM):
        assert counted.changed() is None
    files = [(tmp_path / str(number)).open("w") for number in range(2 * FILES)]
    assert "files are open" in (counted.changed() or "")
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


def test_a_hub_that_cannot_be_asked_is_the_networks_fault_unless_it_must_not_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    trouble = "the Hub answers 503; run again later"
    monkeypatch.setattr(Repo, "_trouble", lambda *_: trouble)
    for offline, kind in ((False, NETWORK), (True, None)):
        with pytest.raises(Unreachable, match="503") as caught:
            Repo("nobody/nothing", "0" * 40, "x", offline=offline).file("model.safetensors")
        assert kind_of(caught.value) == kind


def test_a_job_waits_longer_each_time_and_not_for_ever() -> None:
    waiting, one = Waiting(), job("a")
    assert waiting.seconds == float("inf") and waiting.due() == []
    assert [waiting.add(one, 0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert waiting.add(one, 1800.0) is None and len(waiting) == 8 and waiting.due() == []
    assert waiting.add(job("b"), http.PATIENCE) == http.PATIENCE and 0 < waiting.seconds <= 1


def test_a_replaced_function_is_named_and_a_library_may_wrap_its_own() -> None:
    import numpy as np
    import torch

    functions, before = Functions(), (np.sort, torch.nn.Module.eval, torch.relu)
    try:
        np.sort = lambda values: values  # type: ignore[assignment, misc]
        torch.nn.Module.eval = torch.nn.Module.train  # type: ignore[method-assign]
        del torch.relu
        found = functions.replaced() or ""
        assert all(name in found for name in ("numpy.sort", "Module.eval", "torch.relu")), found
    finally:
        np.sort, torch.nn.Module.eval, torch.relu = before  # type: ignore[method-assign]
    assert functions.replaced() is None


def test_an_answer_to_an_earlier_question_is_not_taken_for_this_ones() -> None:
    from multiprocessing import Pipe

    near, far = Pipe()
    for number in (1, 1, 2):
        far.send_bytes(json.dumps({"number": number, "rows": number}).encode())
    assert received(near, 2, 1.0) == {"rows": 2} and received(near, 3, 0.01) is None
