"""A Hub that is busy, down, slow to answer or unwilling: nothing is lost, nothing doubled, and no word of the token."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import Fault, Hub

from securitynet.errors import HubError
from securitynet.hub import push_model, push_results
from securitynet.hub import write as hub_write
from securitynet.hub.write import Remote
from securitynet.loaders import load_model
from securitynet.results.row import Row

ANY = 10**6
TOKEN = "hf_test"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited; nobody waits."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(hub_write, "RACES", 5)
    return waited


@pytest.fixture
def broken(hub: Hub) -> Iterator[Hub]:
    """The Hub, whose faults end with the test."""
    yield hub
    hub.faults.clear()


def rows(*numbers: int, of: str = "made/up") -> list[Row]:
    return [Row(entry=of, dataset="digits", family="membership", attack="a", metric=f"m{one}", value=one / 3) for one in numbers]


def stored(hub: Hub, repo: str) -> list[str]:
    """The row ids of all shards, as they lie in the repo."""
    import io

    import pyarrow.parquet

    kept = hub.repo("datasets", repo)
    shards = [file for path, file in kept.tree("main").items() if path.endswith(".parquet")]
    tables = [pyarrow.parquet.read_table(io.BytesIO(hub.blob(file.sha256).read_bytes())) for file in shards]
    return sorted(one for table in tables for one in table.column("row_id").to_pylist())


PASSING = [
    Fault("POST", "/repos/create", 500),
    Fault("GET", "/api/datasets/", 503, times=2),
    Fault("POST", "/preupload/", 500),
    Fault("POST", "objects/batch", 429, headers={"Retry-After": "7"}),
    Fault("PUT", "/_lfs/", 500),
    Fault("PUT", "/_lfs/", 0),
    Fault("POST", "/commit/", 500),
    Fault("POST", "/commit/", 500, done=True),
    Fault("POST", "/commit/", 0),
    Fault("POST", "/commit/", 0, done=True),
    Fault("POST", "/commit/", 409),
    Fault("POST", "/commit/", 412, times=3),
    Fault("POST", "/commit/", 429, headers={"Retry-After": "7"}),
    Fault("POST", "/commit/", 429, headers={"RateLimit": '"api";r=0;t=7'}),
]


@pytest.mark.parametrize("number", range(len(PASSING)))
def test_what_passes_is_waited_for(broken: Hub, waits: list[float], number: int) -> None:
    fault, repo = PASSING[number], f"tester/faults-{number}"
    broken.faults.append(fault)
    pushed = push_results(rows(1, 2, of=repo), repo)
    assert fault.times == 0, "the fault took place"
    assert pushed.rows == 2, "they are counted, also where only the answer was lost"
    assert stored(broken, repo) == sorted(one.row_id for one in rows(1, 2, of=repo))
    assert len(list(broken.repo("datasets", repo).history(pushed.commit))) == 2, "the first commit and this one"
    assert broken.repo("datasets", repo).branches["main"] == pushed.commit
    if fault.status == 429:
        assert max(waits) >= 7


HOPELESS = [
    (Fault("POST", "/commit/", 401, ANY), "the Hub does not know who asks"),
    (Fault("POST", "/commit/", 403, ANY), "the token may not write there"),
    (Fault("POST", "/commit/", 404, ANY), "the Hub has no such repo"),
    (Fault("POST", "/commit/", 409, ANY), "others write there all the time"),
    (Fault("POST", "/commit/", 429, ANY, headers={"Retry-After": "7200"}), "asks to wait 7200 s"),
    (Fault("POST", "/commit/", 500, ANY, message=f"token {TOKEN} said nothing"), "the Hub answers 500 (token *** said nothing)"),
    (Fault("POST", "/commit/", 400, ANY, message=f"{TOKEN} is bad"), "the Hub refuses (*** is bad)"),
    (Fault("POST", "/commit/", 0, ANY), "cannot be reached, or the line was cut"),
    (Fault("PUT", "/_lfs/", 0, ANY), "cannot be reached, or the line was cut"),
    (Fault("PUT", "/_lfs/", 500, ANY), "the Hub answers 500"),
    (Fault("GET", "/api/datasets/", 500, ANY), "the Hub answers 500"),
]


@pytest.mark.parametrize("number", range(len(HOPELESS)))
def test_what_does_not_pass_is_one_line(broken: Hub, waits: list[float], caplog: pytest.LogCaptureFixture, number: int) -> None:
    """What was there stays, and once the Hub works again, the same call completes."""
    (fault, words), repo = HOPELESS[number], f"tester/hopeless-{number}"
    push_results(rows(1, of=repo), repo)
    broken.faults.append(fault)
    with caplog.at_level(logging.DEBUG), pytest.raises(HubError) as caught:
        push_results(rows(1, 2, of=repo), repo)
    text = str(caught.value)
    assert text.startswith(f"{repo}: ") and words in text and "\n" not in text and TOKEN not in text
    said = [one.getMessage() for one in caplog.records if one.name.startswith(("securitynet", "huggingface_hub"))]
    assert TOKEN not in "".join(said) and TOKEN not in "".join(traceback.format_exception(caught.value))
    assert len(waits) < 200
    broken.faults.clear()
    assert stored(broken, repo) == [rows(1, of=repo)[0].row_id]
    assert push_results(rows(1, 2, of=repo), repo).rows == 1
    assert stored(broken, repo) == sorted(one.row_id for one in rows(1, 2, of=repo))


def test_a_pull_request_whose_answer_was_lost_is_not_opened_twice(broken: Hub, waits: list[float]) -> None:
    repo = "tester/faults-wish"
    push_results(rows(1), repo)
    broken.faults.append(Fault("POST", "/commit/", 500, done=True))
    assert push_results(rows(2), repo, create_pr=True).pull_request == 1
    assert len(broken.repo("datasets", repo).discussions) == 1


def test_a_model_without_its_tag_says_so(broken: Hub, waits: list[float], tmp_path: Path) -> None:
    repo, target = "tester/faults-model", load_model("builtin/digits-regular", cache_dir=tmp_path)
    broken.faults.append(Fault("POST", "/tag/", 500, ANY))
    with pytest.raises(HubError, match=r"the model is there, at [0-9a-f]{12}; only the tag weights-[0-9a-f]{12} is missing"):
        push_model(target, repo, annotation={})
    broken.faults.clear()
    again = push_model(target, repo, annotation={})
    assert again.files == 0 and again.tag in broken.repo("models", repo).tags


def test_a_model_is_there_whole_or_not_at_all(broken: Hub, waits: list[float], tmp_path: Path) -> None:
    repo, target = "tester/faults-half", load_model("builtin/digits-regular", cache_dir=tmp_path)
    broken.faults.append(Fault("PUT", "/_lfs/", 0, ANY))
    new = load_model("builtin/digits-permuted", cache_dir=tmp_path)
    with pytest.raises(HubError, match="run again"):
        push_model(new, repo, annotation={})
    assert set(broken.repo("models", repo).tree("main")) == {".gitattributes"}
    broken.faults.clear()
    push_model(target, repo, annotation={})
    assert {"config.json", "model.safetensors", "README.md"} <= set(broken.repo("models", repo).tree("main"))


def test_strangers_and_their_tokens(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HubError, match="does not know who asks") as caught:
        push_results(rows(1), "tester/faults-token", token="hf_secret")
    assert "hf_secret" not in str(caught.value) and "hf_secret" not in repr(Remote("a/b", token="hf_secret"))
    with pytest.raises(HubError, match="strangers must be yours"):
        push_results(rows(1), "strangers/faults")
    assert TOKEN not in "".join(capsys.readouterr())


def test_a_hub_that_is_not_there(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr(Remote, "api", property(lambda self: HfApi(address, token=self.token)))
        with pytest.raises(HubError, match=r"the Hub cannot be reached, or the line was cut .*; run again"):
            push_results(rows(1), "tester/faults-nobody")
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_calls_leave_for_the_hub_only(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, results and an evaluation, with every connection and every name looked up written down."""
    import securitynet

    places: list[Any] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def connecting(self: socket.socket, address: Any) -> None:
        places.append(address[:2])
        return connect(self, address)

    def looking_up(host: Any, *rest: Any, **options: Any) -> Any:
        places.append((host, rest[0] if rest else None))
        return look_up(host, *rest, **options)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    monkeypatch.setattr(socket, "getaddrinfo", looking_up)
    push_model(load_model("builtin/digits-regular", cache_dir=tmp_path), "tester/guard", annotation={})
    result = securitynet.evaluate("hf-hub:tester/guard", attacks=["membership/loss"], cache_dir=tmp_path)
    result.push_to_hub("tester/guard-results")
    with pytest.raises(securitynet.SecurityNetError):
        securitynet.load_catalog(revision="v0", repo="tester/guard-results")
    assert {host if isinstance(host, str) else host.decode() for host, _ in places} == {"127.0.0.1"}
    assert len({port for _, port in places if isinstance(port, int)}) == 1
