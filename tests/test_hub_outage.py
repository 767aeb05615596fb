"""After a run with the Hub, the same run works without it: offline, or while the Hub is out of order; damaged files are fetched again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import Fault, Hub
from pictures import ENTRY, X, Y, by_content

from securitynet import catalog
from securitynet.data.readers import image_set
from securitynet.download import Files
from securitynet.download.hub import Repo, Unreachable
from securitynet.entry import Entry
from securitynet.errors import DownloadError, SecurityNetError
from securitynet.loaders import load, load_model

DIGITS = Path(str(catalog.__file__)).parent / "builtin" / "digits-regular"
ANY = 10**6
OUTAGES = {
    "unreachable": [Fault("GET", "/", 0, ANY), Fault("HEAD", "/", 0, ANY)],
    "out of order": [Fault("GET", "/", 503, ANY), Fault("HEAD", "/", 503, ANY)],
    "busy": [Fault("GET", "/", 429, ANY), Fault("HEAD", "/", 429, ANY)],
}


@pytest.fixture
def down(hub: Hub) -> Iterator[Hub]:
    """The Hub, whose faults end with the test."""
    yield hub
    hub.faults.clear()


def push(repo: str, folder: Path, kind: str = "model") -> str:
    from huggingface_hub import HfApi

    HfApi().create_repo(repo, exist_ok=True, repo_type=kind)
    return HfApi().upload_folder(repo_id=repo, folder_path=folder, repo_type=kind).oid


def blob(path: Path) -> Path:
    return path.resolve()


def damage(path: Path) -> None:
    """One bit of a file in the Hub's cache turns over."""
    content = bytearray(blob(path).read_bytes())
    content[len(content) // 2] ^= 1
    blob(path).chmod(0o644)
    blob(path).write_bytes(content)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A repo without anything that may be absent: no card, no members, a checkpoint in place of safetensors."""
    from safetensors.torch import load_file

    folder = tmp_path / "bare"
    folder.mkdir()
    config = json.loads((DIGITS / "config.json").read_text())
    config.pop("securitynet", None)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(load_file(DIGITS / "model.safetensors"), folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("kind", OUTAGES)
def test_models_during_an_outage(down: Hub, tmp_path: Path, bare: Path, kind: str) -> None:
    """Branch, tag and commit; what is known to be absent is no error, and nobody waits for retries."""
    from huggingface_hub import HfApi

    name = f"tester/outage-{kind.replace(' ', '-')}"
    commit = push(name, bare)
    HfApi().create_tag(name, tag="v1")
    models = [f"hf-hub:{name}", f"hf-hub:{name}@v1", f"hf-hub:{name}@{commit}"]
    before = [load_model(model, cache_dir=tmp_path, progress=False) for model in models]
    down.faults += [replace(fault) for fault in OUTAGES[kind]]
    asked = len(down.requests)
    after = [load_model(model, cache_dir=tmp_path, progress=False) for model in models]
    assert [one.entry for one in before] == [one.entry for one in after]
    assert [one.weights_sha256 for one in before] == [one.weights_sha256 for one in after]
    if kind != "unreachable":
        assert len(down.requests) - asked == 2, "once for the branch, once for the tag"


def test_shards_during_an_outage(down: Hub, tmp_path: Path) -> None:
    """An index and the files that it lists; a damaged one of them is fetched again."""
    transformers = pytest.importorskip("transformers")
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 16,
    }
    config = transformers.ViTConfig(**sizes, num_labels=3)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "up", max_shard_size="30KB")
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (tmp_path / "up" / "preprocessor_config.json").write_text(json.dumps(processor))
    shards = sorted(path.name for path in (tmp_path / "up").glob("model-*.safetensors"))
    assert len(shards) > 1
    push("tester/outage-shards", tmp_path / "up")
    before = load_model("hf-hub:tester/outage-shards", cache_dir=tmp_path)
    down.faults += [replace(fault) for fault in OUTAGES["out of order"]]
    asked = len(down.requests)
    after = load_model("hf-hub:tester/outage-shards", cache_dir=tmp_path)
    assert (after.entry, after.weights_sha256) == (before.entry, before.weights_sha256) and len(down.requests) == asked + 1
    down.faults.clear()
    assert before.folder is not None
    damage(before.folder / shards[0])
    assert load_model("hf-hub:tester/outage-shards", cache_dir=tmp_path).weights_sha256 == before.weights_sha256
    assert (before.folder / shards[0]).read_bytes() == (tmp_path / "up" / shards[0]).read_bytes()


def test_what_was_never_fetched_is_said_in_one_line(down: Hub, tmp_path: Path, bare: Path) -> None:
    push("tester/outage-never", bare)
    down.faults += [replace(fault) for fault in OUTAGES["out of order"]]
    with pytest.raises(DownloadError, match=r"config.json of tester/outage-never is not in the Hub's cache, and the Hub answers 503"):
        load_model("hf-hub:tester/outage-never", cache_dir=tmp_path)


def test_entries_of_the_catalog_during_an_outage(down: Hub, tmp_path: Path) -> None:
    """An entry may record a branch, and no name of the file: what stands at its commit is known."""
    push("tester/outage-entry", DIGITS)
    known = catalog.entry("builtin/digits-regular").to_record()
    record = {
        **known,
        "id": "source/outage",
        "loader": "checkpoint",
        "hub_id": "tester/outage-entry",
        "weights_file": None,
        "revision": None,
    }
    entry, files = Entry.from_record(record), Files(tmp_path, progress=False)
    online = load(entry, files)
    down.faults += [replace(fault) for fault in OUTAGES["out of order"]]
    assert load(entry, files).weights_sha256 == online.weights_sha256
    assert load(entry, replace(files, offline=True)).weights_sha256 == online.weights_sha256


def test_a_repo_that_grew_is_asked_for_its_newest(hub: Hub, tmp_path: Path, bare: Path) -> None:
    """What was absent at one commit may be there at the next."""
    push("tester/outage-grew", bare)
    assert load_model("hf-hub:tester/outage-grew", cache_dir=tmp_path).entry.dataset is None
    (bare / "README.md").write_text("---\ndatasets: [digits]\n---\n")
    push("tester/outage-grew", bare)
    assert load_model("hf-hub:tester/outage-grew", cache_dir=tmp_path).entry.dataset == "digits"


def test_nobody_is_asked_about_a_commit_that_is_known(hub: Hub, tmp_path: Path, bare: Path) -> None:
    commit = push("tester/outage-quiet", bare)
    load_model(f"hf-hub:tester/outage-quiet@{commit}", cache_dir=tmp_path)
    asked = len(hub.requests)
    load_model(f"hf-hub:tester/outage-quiet@{commit}", cache_dir=tmp_path)
    assert len(hub.requests) == asked


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_a_damaged_file_is_fetched_again(hub: Hub, tmp_path: Path, name: str) -> None:
    """LFS files are known by their sha256, others by git's hash."""
    repo = f"tester/damaged-{name.partition('.')[0].lower()}"
    push(repo, DIGITS)
    first = load_model(f"hf-hub:{repo}", cache_dir=tmp_path)
    assert first.folder is not None
    path = first.folder / name
    damage(path)
    for model in (f"hf-hub:{repo}", f"hf-hub:{repo}@{first.entry.revision}"):
        again = load_model(model, cache_dir=tmp_path)
        assert (again.entry, again.weights_sha256) == (first.entry, first.weights_sha256)
        assert path.read_bytes() == (DIGITS / name).read_bytes()
        damage(path)


def test_a_damaged_file_that_cannot_be_fetched_again(down: Hub, tmp_path: Path) -> None:
    push("tester/damaged-alone", DIGITS)
    first = load_model("hf-hub:tester/damaged-alone", cache_dir=tmp_path)
    assert first.folder is not None
    damage(first.folder / "model.safetensors")
    with pytest.raises(DownloadError, match="not in the Hub's cache, and no network is to be used"):
        load_model("hf-hub:tester/damaged-alone", cache_dir=tmp_path, offline=True)
    down.faults += [replace(fault) for fault in OUTAGES["out of order"]]
    with pytest.raises(DownloadError, match="not in the Hub's cache, and the Hub answers 503"):
        load_model("hf-hub:tester/damaged-alone", cache_dir=tmp_path)
    down.faults.clear()
    assert load_model("hf-hub:tester/damaged-alone", cache_dir=tmp_path).weights_sha256 == first.weights_sha256


def test_an_optional_file_that_nobody_knows_of(down: Hub, tmp_path: Path) -> None:
    commit = push("tester/outage-optional", DIGITS)
    repo = Repo("tester/outage-optional", commit, "x", progress=False)
    down.faults += [replace(fault) for fault in OUTAGES["out of order"]]
    assert repo.optional("README.md") is None
    with pytest.raises(Unreachable):
        repo.find("README.md")
    down.faults.clear()
    assert repo.optional("README.md") is not None and repo.optional("never.txt") is None


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    import datasets
    from PIL import Image

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "ship", "airplane"])})
    for name, rows in (("train", slice(0, 45)), ("test", slice(45, 60))):
        table = datasets.Dataset.from_dict({"img": [Image.fromarray(x) for x in X[rows]], "label": Y[rows]}, features=features)
        (tmp_path / "up" / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(tmp_path / "up" / "data" / f"{name}-00000-of-00001.parquet")
    return tmp_path / "up"


@pytest.mark.parametrize("kind", OUTAGES)
@pytest.mark.parametrize("samples", [5000, 1])
def test_images_during_an_outage(down: Hub, tmp_path: Path, pictures: Path, kind: str, samples: int) -> None:
    name = f"tester/images-{kind.replace(' ', '-')}-{samples}"
    push(name, pictures, "dataset")
    before = image_set(ENTRY, data=name, cache=tmp_path, samples=samples)
    down.faults += [replace(fault) for fault in OUTAGES[kind]]
    after = image_set(ENTRY, data=name, cache=tmp_path, samples=samples)
    assert after.revision == before.revision and by_content(after.train) == by_content(before.train)
    pinned = f"{name}@{before.revision}"
    with pytest.raises(SecurityNetError):
        image_set(ENTRY, data=pinned, cache=tmp_path / "other", samples=samples)


def test_damaged_images_are_fetched_again(hub: Hub, tmp_path: Path, pictures: Path) -> None:
    name = "tester/damaged-images"
    push(name, pictures, "dataset")
    for samples in (5000, 1):  # the repo's own file, and a sample that lies in our cache
        before = image_set(ENTRY, data=name, cache=tmp_path / "cache", samples=samples)
        assert before.train is not None
        file = Path(before.train.source.groups[0].file)  # type: ignore[attr-defined]
        damage(file)
        assert by_content(image_set(ENTRY, data=name, cache=tmp_path / "cache", samples=samples).train) == by_content(before.train)
    for plan in (tmp_path / "cache" / "images").glob("plan-*.json"):
        plan.write_text("[" * 10)
    assert by_content(image_set(ENTRY, data=name, cache=tmp_path / "cache").test)


def test_everything_without_a_network(hub: Hub, tmp_path: Path, bare: Path) -> None:
    """The whole command in other processes: online, with HF_HUB_OFFLINE=1, and with a Hub that nobody answers for."""
    import datasets
    import numpy as np
    from PIL import Image

    digits = [str(digit) for digit in range(10)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=digits)})
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32), dtype=np.uint8)
    table = datasets.Dataset.from_dict({"image": [Image.fromarray(one) for one in noise], "label": [*range(10)] * 4}, features=features)
    datasets.DatasetDict({"train": table, "test": table}).push_to_hub("tester/outage-noise")
    shutil.copy(DIGITS / "README.md", bare / "README.md")
    push("tester/outage-whole", bare)
    arguments = ["verify", "hf-hub:tester/outage-whole", "--data", "tester/outage-noise", "--samples", "20", "--json"]
    program = f"import sys; from securitynet.cli import main; sys.exit(main({arguments!r}))"
    outcomes: list[Any] = []
    caches = {"SECURITYNET_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "home")}
    for changes in ({}, {"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        environment = {**os.environ, **caches, **changes}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
        outcomes.append([(row["metric"], row["value"]) for row in json.loads(done.stdout)["rows"] if row["metric"] != "queries"])
    assert outcomes[0] == outcomes[1] == outcomes[2] and outcomes[0]
