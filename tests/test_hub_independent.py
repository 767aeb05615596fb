"""What we push, read back from a server that is not ours: olah over plain git repos, cut off from its upstream."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from securitynet import catalog
from securitynet.hub.results import card, shard
from securitynet.results.row import Row

CATALOG = Path(str(catalog.__file__)).parent
NEW = "akamaster/added"

READ = """
import json, sys
import datasets, huggingface_hub, torch
import securitynet
from securitynet.loaders import load_model
import timm
from transformers import AutoModelForImageClassification

how, folder, features = sys.argv[1:]


def model():
    target = load_model("hf-hub:securitynet/regular@main", cache_dir=folder)
    pixels = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = load_model("builtin/digits-regular", cache_dir=folder).module(pixels)
    mean, std = (torch.tensor(one)[:, None, None] for one in (target.entry.mean, target.entry.std))
    others = [timm.create_model("hf-hub:securitynet/regular", pretrained=True).eval()]
    # With peft, transformers first asks whether the repo has an adapter; that server says 401 of a file that is missing.
    kept = huggingface_hub.snapshot_download("securitynet/regular", revision="main")
    others.append(AutoModelForImageClassification.from_pretrained(kept).eval())
    with torch.no_grad():
        answers = [other((pixels - mean) / std) for other in others]
    logits = [torch.equal(target.module(pixels), expected)]
    logits += [torch.allclose(getattr(one, "logits", one), expected, atol=1e-4) for one in answers]
    result = securitynet.evaluate("hf-hub:securitynet/regular@main", attacks=["membership/loss"], cache_dir=folder)
    return {"logits": logits, "evaluated": [result.rows[0].entry, result.verdict.cause or ""]}


datasets.config.USE_PARQUET_EXPORT = False
found, here = {}, securitynet.load_catalog()
for revision in ("v1", "v2") if how == "online" else ("v2",):
    models = securitynet.load_catalog(revision=revision, repo="securitynet/catalog")
    found[revision] = [len(models), models.features == here.features, models[:2] == here[:2]]
rows = datasets.load_dataset("securitynet/results", "membership", split="train", revision="main")
found["results"] = [sorted(rows["metric"]), rows.features == datasets.Features.from_dict(json.loads(features))]
if how == "online":
    found |= model()
print(json.dumps(found))
"""


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def committed(folder: Path, tag: str | None = None) -> None:
    if not (folder / ".git").exists():
        git(folder, "init")
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "change")
    if tag:
        git(folder, "tag", tag)


def repos(root: Path) -> None:
    """The catalog with two tags, of which the second has one record more; a model; results in two shards."""
    place = root / "datasets" / "securitynet" / "catalog"
    shutil.copytree(CATALOG, place, ignore=shutil.ignore_patterns("builtin", "__pycache__", "*.py"))
    committed(place, "v1")
    record = catalog.entry("akamaster/resnet20").to_record() | {"id": NEW, "name": "added"}
    with (place / "models" / "akamaster.jsonl").open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record, ensure_ascii=False) + "\n")
    committed(place, "v2")
    model = root / "models" / "securitynet" / "regular"
    shutil.copytree(CATALOG / "builtin" / "digits-regular", model)
    committed(model)
    results = root / "datasets" / "securitynet" / "results"
    (results / "membership").mkdir(parents=True)
    for name in ("a", "b"):
        row = Row(
            entry="own/a", dataset="d", family="membership", attack="membership/loss", metric=name, value=0.5, date="2026-01-02T03:04:05"
        )
        (results / "membership" / f"{name}.parquet").write_bytes(shard([row]))
    (results / "README.md").write_text(card("securitynet/results", None, ["membership"]), encoding="utf-8")
    committed(results)


@pytest.fixture
def olah(tmp_path: Path) -> Iterator[str]:
    """The address of an olah that serves the repos; what it does not have it would ask a port where nobody listens.

    Of a repo without a revision it always asks its upstream, so the tests name `main`; of a file that is
    missing it does not say at which commit, so the clients do not remember that, and models are read without a network elsewhere.
    """
    command = shutil.which("olah-cli", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if command is None or shutil.which("git") is None:
        pytest.skip("olah or git is not installed")
    repos(tmp_path / "mirrors")
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        port, nobody = first.getsockname()[1], second.getsockname()[1]
    settings = {
        "host": "127.0.0.1", "port": port, "repos-path": str(tmp_path / "kept"), "hf-scheme": "http", "hf-netloc": f"127.0.0.1:{nobody}",
        "hf-lfs-netloc": f"127.0.0.1:{nobody}", "mirror-netloc": f"127.0.0.1:{port}", "mirror-lfs-netloc": f"127.0.0.1:{port}",
        "mirrors-path": [str(tmp_path / "mirrors")],
    }  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
    (tmp_path / "olah.toml").write_text("".join(["[basic]\n", *lines, "[accessibility]\noffline = true\n"]))
    started = [command, "--config", str(tmp_path / "olah.toml"), "--log-path", str(tmp_path / "logs")]
    with (tmp_path / "olah.log").open("wb") as log:
        server = subprocess.Popen(started, cwd=tmp_path, stdout=log, stderr=log)
    try:
        _wait(server, f"http://127.0.0.1:{port}/api/models/securitynet/regular/revision/main", tmp_path / "olah.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            with urlopen(address, timeout=20):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace")[-2000:])


def test_read_from_a_server_that_is_not_ours(olah: str, tmp_path: Path) -> None:
    from securitynet.results.row import row_features

    environment = os.environ | {"HF_ENDPOINT": olah, "HF_HOME": str(tmp_path / "home"), "SECURITYNET_CACHE": str(tmp_path / "cache")}
    environment.pop("HF_TOKEN", None)

    def read(how: str, **more: str) -> dict[str, Any]:
        command = [sys.executable, "-c", READ, how, str(tmp_path / "models"), json.dumps(row_features().to_dict())]
        done = subprocess.run(command, env=environment | more, capture_output=True, text=True, cwd=tmp_path, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]
        return dict(json.loads(done.stdout.splitlines()[-1]))

    online = read("online")
    models, commit = len(catalog.ids()), git(tmp_path / "mirrors" / "models" / "securitynet" / "regular", "rev-parse", "HEAD")
    assert online["v1"] == [models, True, True] and online["v2"] == [models + 1, True, True]
    assert online["results"] == [["a", "b"], True] and online["logits"] == [True, True, True]
    assert online["evaluated"] == [f"hf-hub:securitynet/regular@{commit}", ""]
    offline = read("offline", HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert offline == {key: online[key] for key in ("v2", "results")}
