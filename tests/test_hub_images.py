"""Image datasets on the Hub, through the real clients: class order, pins, offline, samples, errors in words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pictures import CIFAR, ENTRY, RNG, X, Y, by_content, expected, png, refused, write
from PIL import Image

from securitynet.data import readers
from securitynet.data.dataset import resolve
from securitynet.data.readers import image_set

if TYPE_CHECKING:
    from hub import Hub


@pytest.fixture(scope="module")
def repo(hub: Hub) -> Iterator[str]:
    """A dataset as a user of the `datasets` library pushes it, classes in an order of its own."""
    import datasets

    names = ["dog", "ship", "airplane"]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    parts = {"train": slice(0, 45), "test": slice(45, 60)}
    tables = {
        name: datasets.Dataset.from_dict({"img": [Image.fromarray(x) for x in X[rows]], "label": Y[rows]}, features=features)
        for name, rows in parts.items()
    }
    datasets.DatasetDict(tables).push_to_hub("securitynet/images")
    datasets.DatasetDict({"train": tables["test"]}).push_to_hub("securitynet/images", "small")
    yield "securitynet/images"


def test_a_dataset_of_the_hub(hub: Hub, repo: str, tmp_path: Path) -> None:
    images = image_set(CIFAR, data=repo, cache=tmp_path)
    assert by_content(images.train) == expected(slice(0, 45), [5, 8, 0]) and by_content(images.test) == expected(slice(45, 60), [5, 8, 0])
    assert (images.dataset, images.membership, len(images.revision or "")) == ("CIFAR-10", "official-split", 40)
    asked = len(hub.requests)
    again = image_set(CIFAR, data=repo, cache=tmp_path)
    assert len(hub.requests) == asked + 1  # which commit is the latest
    pinned = image_set(CIFAR, data=f"{repo}@{images.revision}", cache=tmp_path)
    asked = len(hub.requests)
    offline = image_set(CIFAR, data=repo, cache=tmp_path, offline=True)
    assert len(hub.requests) == asked
    prints = {part.train.fingerprint for part in (images, again, pinned, offline) if part.train}
    assert len(prints) == 1
    own = image_set(ENTRY, data=repo, cache=tmp_path)
    assert (own.dataset, own.membership, own.class_names) == (repo, "official-split", ("dog", "ship", "airplane"))
    small = image_set(ENTRY, data=f"{repo}:small", cache=tmp_path)
    assert small.test is None and by_content(small.train) == expected(slice(45, 60), [0, 1, 2])


def test_a_pinned_revision_stays(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    HfApi().create_repo("securitynet/moving", repo_type="dataset")
    revisions = []
    for rows in (slice(0, 30), slice(30, 60)):
        write(tmp_path / "up" / "test.parquet", rows)
        done = HfApi().upload_folder(repo_id="securitynet/moving", repo_type="dataset", folder_path=tmp_path / "up")
        revisions.append(done.oid)
        images = image_set(ENTRY, data="securitynet/moving", cache=tmp_path)
        assert images.revision == done.oid and by_content(images.test) == expected(rows, [0, 1, 2])
    old, new = (image_set(ENTRY, data=f"securitynet/moving@{sha}", cache=tmp_path) for sha in revisions)
    assert by_content(old.test) == expected(slice(0, 30), [0, 1, 2]) and by_content(new.test) == expected(slice(30, 60), [0, 1, 2])
    pinned = image_set(ENTRY, data=f"securitynet/moving@{revisions[0]}", cache=tmp_path, offline=True)
    assert pinned.revision == revisions[0] and by_content(pinned.test) == by_content(old.test)


def test_the_entrys_own_dataset_comes_from_the_hub(hub: Hub, repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = replace(resolve("CIFAR-10"), hub_id=repo)
    monkeypatch.setattr(readers, "resolve", lambda name: pinned)
    images = image_set(CIFAR, cache=tmp_path)
    assert by_content(images.train) == expected(slice(0, 45), [5, 8, 0]) and images.membership == "official-split"


def test_of_a_large_dataset_on_the_hub_only_some_row_groups_are_sent(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo("securitynet/large", repo_type="dataset")
    heavy = [{"bytes": png(image) + RNG.bytes(5000), "path": None} for image in X]  # what follows the end of a PNG is ignored
    others = [RNG.bytes(5000) for _ in X]
    path = write(tmp_path / "up" / "data" / "train-00000-of-00001.parquet", slice(0, 600), group=2, image=heavy, other=others)
    api.upload_folder(repo_id="securitynet/large", repo_type="dataset", folder_path=tmp_path / "up")
    asked = len(hub.requests)
    images = image_set(ENTRY, data="securitynet/large", cache=tmp_path, samples=10)
    sent = sum(one.sent for one in hub.requests[asked:] if one.path.endswith(".parquet") and one.method == "GET")
    assert images.train and len(images.train) == 40
    assert by_content(images.train).items() <= expected(slice(0, 600), [0, 1, 2]).items()
    assert 40 * 5000 < sent < path.stat().st_size / 8  # footers and 20 of 300 row groups, without the other column
    asked = len(hub.requests)
    again = image_set(ENTRY, data="securitynet/large", cache=tmp_path, samples=10, offline=True)
    assert len(hub.requests) == asked and again.train and again.train.fingerprint == images.train.fingerprint
    other = image_set(ENTRY, data="securitynet/large", cache=tmp_path, samples=10, seed=5)
    assert by_content(other.train) != by_content(images.train)
    assert "this sample of train is not in the cache" in refused("securitynet/large", cache=tmp_path, samples=10, seed=6, offline=True)


def test_an_image_folder_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    for index in range(30):
        path = tmp_path / "up" / ("train" if index < 25 else "test") / ("dog", "cat", "bird")[Y[index]] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(X[index]))
    HfApi().create_repo("securitynet/folder", repo_type="dataset")
    HfApi().upload_folder(repo_id="securitynet/folder", repo_type="dataset", folder_path=tmp_path / "up")
    images = image_set(CIFAR, data="securitynet/folder", cache=tmp_path)
    assert by_content(images.train) == expected(slice(0, 25), [5, 3, 2]) and by_content(images.test) == expected(slice(25, 30), [5, 3, 2])
    asked = len(hub.requests)
    offline = image_set(CIFAR, data="securitynet/folder", cache=tmp_path, offline=True)
    assert len(hub.requests) == asked and by_content(offline.test) == by_content(images.test)
    few = image_set(CIFAR, data="securitynet/folder", cache=tmp_path, samples=1)
    assert len(by_content(few.train)) == 1 and by_content(few.train).items() <= by_content(images.train).items()
    assert by_content(few.test) == by_content(images.test)


def test_what_can_go_wrong_on_the_hub(hub: Hub, repo: str, tmp_path: Path) -> None:
    from hub import User
    from huggingface_hub import HfApi

    assert "securitynet/nowhere: no such file or folder, and no such dataset on the Hub" in refused("securitynet/nowhere", cache=tmp_path)
    assert "the dataset has no such revision" in refused(f"{repo}@v9", cache=tmp_path)
    assert re.search(f"{repo}:huge: the dataset cannot be read .*huge.* not found", refused(f"{repo}:huge", cache=tmp_path))
    assert "not in the cache, and this run is offline" in refused(repo, cache=tmp_path, offline=True)
    hub.users["hf_other"] = User("other")
    other = HfApi(token="hf_other")
    other.create_repo("other/gated", repo_type="dataset")
    other.upload_file(repo_id="other/gated", repo_type="dataset", path_or_fileobj=b"---\n---\n", path_in_repo="README.md")
    other.update_repo_settings("other/gated", repo_type="dataset", gated="auto")
    assert "other/gated: gated on the Hub; accept its terms at https://" in refused("other/gated", cache=tmp_path)
    HfApi().create_repo("securitynet/empty", repo_type="dataset")
    assert "securitynet/empty: the dataset cannot be read" in refused("securitynet/empty", cache=tmp_path)


def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    code = "from securitynet.entry import Entry; from securitynet.data.readers import image_set\n"
    code += "try: image_set(Entry(id='a/b', dataset='cifar10', input_size=(3, 32, 32)))\nexcept Exception as error: print(repr(error))"
    for changed, message in (
        (
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            r"DownloadError.'uoft-cs/cifar10: not in the cache, and the Hub did not answer .*; check the network",
        ),
        ({"HF_HUB_OFFLINE": "1"}, "DataError.'uoft-cs/cifar10: not in the cache, and this run is offline"),
    ):
        environment = {**os.environ, **changed, "SECURITYNET_CACHE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert re.search(message, done.stdout), done.stdout + done.stderr
