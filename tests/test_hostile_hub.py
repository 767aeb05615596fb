"""Dataset repos on the Hub that want to do harm: their metadata says which files are opened, and in which format."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import refused
from hub import Hub
from pictures import ENTRY, RNG, X, png, write

from securitynet.data.readers import image_set

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"
BOMB = "\n".join(["l0: &l0 [x,x,x,x,x,x,x,x,x,x]", *(f"l{one}: &l{one} [{','.join([f'*l{one - 1}'] * 10)}]" for one in range(1, 9))])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Any]]:
    """The hosts that were looked up or connected to."""
    hosts: set[Any] = set()
    connect, look_up = socket.socket.connect, socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: hosts.add(address[0]) or connect(self, address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: hosts.add(host) or look_up(host, *rest, **more))
    yield hosts


def push(folder: Path, name: str) -> str:
    from huggingface_hub import HfApi

    repo = f"tester/hostile-{name}"
    HfApi().create_repo(repo, repo_type="dataset", exist_ok=True)
    HfApi().upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder)
    return repo


def read_all(repo: str, cache: Path) -> None:
    images = image_set(ENTRY, data=repo, cache=cache)
    for part in (images.train, images.test):
        for index in range(len(part) if part is not None else 0):
            part[index]  # type: ignore[index]


def configs(place: str) -> str:
    return f"configs:\n- config_name: default\n  data_files:\n  - split: test\n    path: {json.dumps(place)}"


CARDS = {
    "bomb": BOMB,
    "address": configs("https://127.0.0.2/a.parquet"),
    "address-in-a-list": "configs: [{config_name: default, data_files: {test: ['http://127.0.0.2/a.parquet']}}]",
    "absolute": configs("/etc/*"),
    "home": configs("~/*.parquet"),
    "climbs": configs("../../other/*.parquet"),
    "other-repo": configs("hf://datasets/tester/other/a.parquet"),
    "chained": configs("zip://a::https://127.0.0.2/a.zip"),
    "folder": "configs: [{config_name: default, data_dir: /etc}]",
    "deep": "configs: " + "[" * 300 + "]" * 300,
    "code": "configs: !!python/object/apply:os.system ['true']",
    "strange": "configs: 7",
    "strange-info": "dataset_info: [1, {features: 3}]",
    "strange-splits": "dataset_info: {splits: [{name: test, num_examples: many}]}",
}


@pytest.mark.parametrize("file", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize("kind", CARDS)
def test_metadata(hub: Hub, tmp_path: Path, asked: set[Any], kind: str, file: str) -> None:
    if kind == "code" and file == "README.md":
        pytest.skip("the Hub itself refuses it")
    write(tmp_path / "up" / "test.parquet", slice(0, 20))
    (tmp_path / "up" / file).write_text(f"---\n{CARDS[kind]}\n---\n" if file.endswith(".md") else CARDS[kind])
    repo = push(tmp_path / "up", f"{kind}-{file[-4:].strip('.')}")
    asked.clear()
    if kind.startswith("strange"):  # the library may read over it
        from securitynet.errors import SecurityNetError

        try:
            read_all(repo, tmp_path / "cache")
        except SecurityNetError:
            refused(lambda: read_all(repo, tmp_path / "cache"))
    else:
        refused(lambda: read_all(repo, tmp_path / "cache"))
    assert asked <= {"127.0.0.1"}


@pytest.mark.parametrize("place", ["/etc/passwd", "http://127.0.0.2/a.png", "../../a.png", "hf://datasets/tester/other/a.png"])
def test_rows_that_name_other_files(hub: Hub, tmp_path: Path, asked: set[Any], place: str) -> None:
    """Lines of JSON whose card says that a column of text is one of images."""
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "test.jsonl").write_text("".join(json.dumps({"image": place, "label": one % 3}) + "\n" for one in range(9)))
    features = "[{name: image, dtype: image}, {name: label, dtype: {class_label: {names: {'0': a, '1': b, '2': c}}}}]"
    (tmp_path / "up" / "README.md").write_text(f"---\ndataset_info: {{features: {features}}}\n---\n")
    repo = push(tmp_path / "up", f"rows-{abs(hash(place))}")
    asked.clear()
    refused(lambda: read_all(repo, tmp_path / "cache"))
    assert asked <= {"127.0.0.1"}


def test_pictures_that_are_programs(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(12):
        path = tmp_path / "up" / "test" / ("dog", "cat", "bird")[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(EPS if index == 5 else png(X[index]))
    repo = push(tmp_path / "up", "eps")
    started: list[Any] = []
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *arguments, **_: started.append(arguments))
    assert "the image cannot be read" in refused(lambda: read_all(repo, tmp_path / "cache")) and not started


@pytest.mark.parametrize("kind", ["not-parquet", "cut", "path"])
def test_tables(hub: Hub, tmp_path: Path, kind: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = write(tmp_path / "up" / "test.parquet", slice(0, 20))
    if kind == "not-parquet":
        path.write_bytes(b"PAR1" + RNG.bytes(500) + b"PAR1")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        pq.write_table(pa.table({"image": [{"bytes": None, "path": "../../../../../../etc/passwd"}] * 6, "label": [0, 1, 2] * 2}), path)
    repo = push(tmp_path / "up", f"table-{kind}")
    refused(lambda: read_all(repo, tmp_path / "cache"))
