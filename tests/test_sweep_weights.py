"""The limit on weights: those of models that are done go, those that a job still wants stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sweeping import good, job

from securitynet.download import Files, kept
from securitynet.sweep import estimate
from securitynet.sweep.plan import Job, SweepSettings
from securitynet.sweep.weights import Weights

COMMIT = "0123456789" * 4


def fetched(of: Job, cache: Path, size: int = 100) -> Path:
    """The weights of a job as a download leaves them: with a note and a lock beside them."""
    folder = Files(cache).folder(of.entry.weights_url or "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock").touch()
    (folder / "weights.json").write_text("{}")
    (folder / "weights").write_bytes(bytes(size))
    return folder / "weights"


def settings(cache: Path, limit: int | None) -> SweepSettings:
    return SweepSettings(cache=str(cache), weights_limit=limit, samples=10)


@pytest.mark.parametrize(("limit", "left"), [(None, "abcd"), (0, ""), (250, "cd"), (10**9, "abcd")])
def test_the_first_done_go_first(tmp_path: Path, limit: int | None, left: str) -> None:
    jobs = [job(name) for name in "abcd"]
    files = {one.entry.id: fetched(one, tmp_path) for one in jobs}
    weights = Weights(settings(tmp_path, limit), jobs, jobs)
    for one in jobs:
        weights.end(good(one))
    assert [name[-1] for name, path in files.items() if path.exists()] == list(left)
    assert all((path.parent / "weights.json").exists() and (path.parent / "lock").exists() for path in files.values())


def test_what_another_job_wants_stays(tmp_path: Path) -> None:
    """Another seed of the same entry, another entry of the same archive."""
    first = job("a")
    other = replace(first, entry=replace(first.entry, id="test/other", archive_member="x"))
    jobs = [first, replace(first, seed=1), other]
    path = fetched(first, tmp_path)
    weights = Weights(settings(tmp_path, 0), jobs, jobs)
    for one in jobs:
        assert path.exists()
        weights.end(good(one))
    assert not path.exists()


def test_what_a_run_before_left_counts(tmp_path: Path) -> None:
    jobs = [job(name) for name in "abc"]
    paths = [fetched(one, tmp_path) for one in jobs]
    Weights(settings(tmp_path, 100), jobs, jobs[2:])
    assert [path.exists() for path in paths] == [False, True, True]


def test_of_the_hubs_cache_only_what_this_run_brought_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    jobs = []
    for name, revision in (("mine", COMMIT), ("theirs", COMMIT), ("newest", None)):
        folder = tmp_path / "hub" / f"models--own--{name}"
        for part in ("blobs", "refs", f"snapshots/{COMMIT}"):
            (folder / part).mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT)
        for file in ("model.safetensors", "config.json"):
            (folder / "blobs" / file).write_bytes(bytes(10))
            (folder / "snapshots" / COMMIT / file).symlink_to(f"../../blobs/{file}")
        one = job(name)
        jobs.append(replace(one, entry=replace(one.entry, weights_url=None, hub_id=f"own/{name}", revision=revision)))
    weights = Weights(settings(tmp_path, 0), jobs, jobs)
    for one in jobs:
        weights.end(replace(good(one), reached="theirs" not in one.entry.id))
    left = {path.relative_to(tmp_path / "hub").parts[0] for path in (tmp_path / "hub").rglob("model.safetensors")}
    assert left == {"models--own--theirs"} and len(list((tmp_path / "hub").rglob("config.json"))) == 6


@pytest.mark.parametrize("revision", ["../../../precious", "refs/../..", "/etc", "main\0"])
def test_a_revision_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "model.bin").write_bytes(b"1")
    (tmp_path / "hub" / "models--own--a" / "snapshots").mkdir(parents=True)
    entry = replace(job("a").entry, weights_url=None, hub_id="own/a", revision=revision)
    assert kept.kept_files(entry, Files(tmp_path)) == []


def test_the_plan_knows_the_limit(tmp_path: Path) -> None:
    one = job("a")
    one = replace(one, entry=replace(one.entry, weights_size=1000))
    disk = [estimate.estimate([one], settings(tmp_path, limit), {}, []).disk for limit in (None, 0, 400, 5000)]
    assert [size - disk[1] for size in disk] == [1000, 0, 400, 1000]
