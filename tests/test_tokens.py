"""No token in an error: a server that repeats the token it was sent, against every command and call that sends one."""

from __future__ import annotations

import json
import logging
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub import Fault, Hub
from hub.store import User
from web import Page, serve

from securitynet import catalog, load_catalog
from securitynet.cli import main
from securitynet.endpoint._http import Http
from securitynet.endpoint._sender import Refused
from securitynet.errors import SecurityNetError
from securitynet.hub import push_results
from securitynet.results.row import Row
from securitynet.results.store import write_rows
from securitynet.tokens import hidden, said

ANY = 10**6
TOKEN = "hf_test"  # what the tests send, see conftest
BUILTIN = Path(str(catalog.__file__)).parent / "builtin" / "digits-regular"
ECHOES = ["you sent {token}, which I do not like", "x" * 196 + "{token}", "{token}{token} twice"]


def row(**changes: Any) -> Row:
    given: dict[str, Any] = {"entry": "made/up", "dataset": "digits", "family": "membership", "attack": "membership/loss", "metric": "auc"}
    return Row(**(given | {"value": 0.5, "n": 10, "status": "ok"} | changes))


@pytest.fixture
def echo(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub, which answers every request with an error that repeats the token; nobody waits."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    yield hub
    hub.faults.clear()


def repeat(hub: Hub, status: int, message: str) -> None:
    hub.faults[:] = [Fault(method, "/", status, ANY, message=message) for method in ("GET", "HEAD", "POST", "PUT")]


def commands(folder: Path) -> dict[str, list[str]]:
    """A call of every command that sends the token, with what it needs in `folder`."""
    write_rows(folder / "rows.jsonl", [row()])
    known = catalog.entry("builtin/digits-regular").to_record()
    place = {"id": "somebody/mine", "source": "somebody", "name": "mine", "loader": "checkpoint", "hub_id": "somebody/mine"}
    record = {**known, **place, "members_file": None, "weights_hash": None, "hash_algorithm": None, "integrity": "none"}
    (folder / "entry.json").write_text(json.dumps(record))
    shutil.copytree(BUILTIN, folder / "model", dirs_exist_ok=True)
    rows, entry, model, cache = (str(folder / name) for name in ("rows.jsonl", "entry.json", "model", "cache"))
    images = ["--data", "somebody/images", "--cache-dir", cache]
    return {
        "push model": ["push", "model", model, "--to", "tester/echo", "--cache-dir", cache],
        "push results": ["push", "results", rows, "--to", "tester/echo"],
        "push results to a model": ["push", "results", rows, "--to-model", "tester/echo", "--create-pr"],
        "push catalog": ["push", "catalog", "--to", "tester/echo"],
        "push metric": ["push", "metric", "membership_leakage", "--to", "tester/membership_leakage"],
        "contribute": ["contribute", entry, "--to", "tester/echo"],
        "contribute results": ["contribute", "--results", rows, "--results-to", "tester/echo"],
        "verify": ["verify", "hf-hub:somebody/model", "--cache-dir", cache],
        "evaluate": ["evaluate", "hf-hub:somebody/model", "--cache-dir", cache],
        "evaluate on images": ["evaluate", "builtin/digits-regular", *images],
        "exposed": ["exposed", "hf-hub:somebody/model", "--cache-dir", cache],
        "triggers": ["triggers", "hf-hub:somebody/model", "--cache-dir", cache],
        "defend": ["defend", "hf-hub:somebody/model", "--cache-dir", cache],
    }


@pytest.mark.parametrize("status", [400, 401, 500])
def test_no_command_shows_it(echo: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str], status: int) -> None:
    """Also not with -v, where what caused an error is printed."""
    for number, (name, asked) in enumerate(commands(tmp_path).items()):
        repeat(echo, status, ECHOES[number % len(ECHOES)])
        code = main([asked[0], *(["-v"] if (number + status) % 2 else []), *asked[1:]])
        captured = capfd.readouterr()
        assert code != 0 and sum(one.times for one in echo.faults) < 4 * ANY, f"{name}: the Hub was not asked"
        assert TOKEN not in captured.out + captured.err, name
        assert "_test" not in captured.out + captured.err, name


@pytest.mark.parametrize("message", ECHOES)
@pytest.mark.parametrize("token", [None, "hf_other_one"])
def test_no_call_shows_it(echo: Hub, caplog: pytest.LogCaptureFixture, token: str | None, message: str) -> None:
    """Neither the error nor its traceback nor the log holds a token that was given by hand."""
    echo.users["hf_other_one"] = User("tester")
    for status in (400, 500):
        repeat(echo, status, message)
        with caplog.at_level(logging.DEBUG, "securitynet"), pytest.raises(SecurityNetError) as caught:
            push_results([row()], "tester/echo", token=token)
        shown = "".join(traceback.format_exception(caught.value)) + caplog.text
        assert (token or TOKEN) not in shown and (token or TOKEN)[:9] not in shown
    repeat(echo, 400, message)
    with pytest.raises(SecurityNetError) as caught:
        load_catalog(revision="v0", repo="tester/echo-catalog")
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_the_hubs_check_of_a_card_may_repeat_it(echo: Hub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    echo.faults[:] = [Fault("POST", "/validate-yaml", 400, ANY, message="{token} is no licence")]
    assert main(commands(tmp_path)["push results"]) == 1
    error = capsys.readouterr().err
    assert "tester/echo" in error and TOKEN not in error


def test_a_key_of_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address may repeat a header in its answer, its reason, its redirect, or in place of an answer."""
    key = "sk-0123456789abcdef"
    images = np.zeros((1, 4, 4), np.uint8)
    pages = {
        "/refused": Page(f"no right for {key}".encode(), 403),
        "/busy": Page(f"Bearer {key} asks too often".encode(), 503),
        "/moved": Page(b"", 302, {"Location": f"http://127.0.0.1/?key={key}"}),
        "/prose": Page(f"hello {key}".encode()),
        "/cut": Page(("x" * 75 + key).encode()),
    }
    monkeypatch.setattr("http.server.BaseHTTPRequestHandler.do_POST", None, raising=False)
    with serve() as web:
        web.pages |= pages
        for path in pages:
            http = Http(web.address + path, {"Authorization": f"Bearer {key}"})
            with pytest.raises((SecurityNetError, Refused)) as caught:
                monkeypatch.setattr("urllib.request.Request.get_method", lambda _: "GET")  # the test server knows no POST
                http(images)
            shown = "".join(traceback.format_exception(caught.value))
            assert key not in shown and key[:9] not in shown and web.address in shown
    assert key not in repr(http)


def test_what_is_hidden() -> None:
    real = "hf_" + "aB3" * 11 + "x"
    assert hidden(f"a {real} b") == "a *** b" and hidden("hf_hub_download of hf_xet") == "hf_hub_download of hf_xet"
    assert hidden("secret-1 and secret-12", "secret-1", "secret-12") == "*** and ***" and hidden("abc", "abc") == "abc"
    assert said("y" * 195 + real).startswith("y" * 195) and "aB3" not in said("y" * 195 + real)
    assert said("\n  first \nsecond") == "first" and said(ValueError()) == "ValueError"
    assert real not in str(SecurityNetError(f"the server says {real}"))
    assert "aB3" not in str(SecurityNetError("x" * 470 + real))
