"""Sweeps as a person runs them: sick models, kills, shards, torchrun and Ray; the table is that of the undisturbed serial run."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweeping import Zoo, finish, kill_after, lines_of, records_of, silent_server, start, table, wait_for, weights_of, zoo

from securitynet import cli
from securitynet.results.store import PARQUET

SICK = {
    "test/corrupt": "wrong hash",
    "test/damaged": "damaged",
    "test/silent": "the download did not end within 4 s",
    "test/segfault": "the evaluation was killed by SIGSEGV",
    "test/misfit": "do not fit",
}
HEALTHY = ("test/one", "test/two")
CHOSEN = (*HEALTHY, "test/segfault")
COUNT = len(SICK) + len(HEALTHY) + 3


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zoo]:
    """Two healthy models, one that is suspect, one out of memory, five sick ones, one for another task."""
    with zoo(tmp_path_factory.mktemp("zoo")) as made, silent_server() as silent:
        for number, name in enumerate(("one", "two"), 1):
            made.add(name, weights_of("regular", number))
        made.add("nan", weights_of("regular", nan=True))
        made.add("memory", weights_of("regular", 4))
        made.add("segfault", weights_of("regular", 5))
        made.add("corrupt", weights_of("regular", 6), weights_hash="0" * 64)
        made.add("damaged", weights_of("regular", 7)[:-1000], weights_hash=None)
        made.add("misfit", weights_of("regular", 8), architecture="timm:resnet18", architecture_args=None)
        made.add("silent", weights_of("regular", 9), weights_url=silent)
        made.add("many", weights_of("regular", 10), task="multi-label")
        yield made


@pytest.fixture(scope="module")
def serial(models: Zoo) -> tuple[Path, int, dict[str, Any], str]:
    """The undisturbed run: its directory, exit code, JSON, and what it wrote on stderr."""
    folder = models.folder / "serial"
    return folder, *finish(options(models, folder, "cache"))


def options(models: Zoo, folder: Path, cache: str, *more: str) -> list[str]:
    return models.command(folder, cache, "--download-limit", "4", "--time-limit", "120", *more)


def test_every_healthy_model_has_its_rows_and_every_sick_one_a_reason(models: Zoo, serial: tuple[Path, int, dict[str, Any], str]) -> None:
    folder, code, found, _ = serial
    rows = records_of(folder)
    assert code == 1 and found["finished"] and (found["jobs"], found["settled"]) == (COUNT, COUNT)
    of = {entry: [row for row in rows if row["entry"] == entry] for entry in {row["entry"] for row in rows}}
    names = {(row["attack"], row["metric"]) for row in of["test/one"]}
    assert {("query", "queries"), ("verify", "test_accuracy"), ("membership/loss", "auc"), ("membership/deadly", "auc")} <= names
    for entry in HEALTHY:
        assert {(row["attack"], row["metric"]) for row in of[entry]} == names
        assert {row["status"] for row in of[entry] if row["value"] is not None} == {"ok"}
    for entry, words in SICK.items():
        assert [(row["status"], row["dataset"]) for row in of[entry]] == [("failed", None)] and words in of[entry][0]["reason"], of[entry]
        assert list((folder / "logs").glob(f"test-{entry.partition('/')[2]}.*")) or entry == "test/silent"
    assert "Segmentation fault" in (folder / "logs" / "test-segfault.seed-0.log").read_text()
    assert [row["status"] for row in of["test/many"]] == ["skipped"] and "multi-label" in of["test/many"][0]["reason"]
    assert any(row["status"] == "suspect" and "not finite" in row["reason"] for row in of["test/nan"])
    (memory,) = [row for row in of["test/memory"] if row["status"] == "failed"]
    assert memory["attack"] == "membership/deadly" and "allocate" in memory["reason"]
    assert "deadly.py" in (folder / "logs" / "test-memory.seed-0.log").read_text()
    assert not (folder / "logs" / "test-one.seed-0.log").exists()
    assert not any(str(models.folder) in row["reason"] for row in rows if row["reason"])  # a path of this machine tells nobody else


def test_the_driver_speaks_lines_of_json(serial: tuple[Path, int, dict[str, Any], str]) -> None:
    folder, _, found, errors = serial
    lines = [json.loads(line) for line in errors.splitlines()]
    assert lines[0]["jobs"] == COUNT and [line["settled"] for line in lines[1:]] == list(range(1, COUNT + 1))
    assert {line["entry"]: line["status"] for line in lines[1:]}.items() >= dict.fromkeys(SICK, "failed").items()
    assert lines[-1]["failed"] == found["failed"] == len(found["failures"])
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(folder / PARQUET).num_rows == len(records_of(folder))


def test_downloads_overlap_computing(serial: tuple[Path, int, dict[str, Any], str]) -> None:
    done = [line for line in lines_of(serial[0]) if line["event"] == "done"]
    computed = [line["evaluated"] for line in done if line["evaluated"]]
    (silent,) = [line["fetched"] for line in done if line["entry"] == "test/silent"]
    assert any(silent[0] < end and start < silent[1] for start, end in computed)  # it held up nobody


def test_killed_shards_joined_are_the_serial_table(models: Zoo, serial: tuple[Path, int, dict[str, Any], str], capsys: Any) -> None:
    folder = models.folder / "shards"
    command = options(models, folder, "other", "--shard", "1/2")
    kill_after(command, folder / "shard-1-of-2", 2, 0.3)
    interrupted = start(options(models, folder, "other", "--shard", "2/2"), PAUSE="2")
    second = folder / "shard-2-of-2"
    wait_for(lambda: any(line["event"] == "begun" for line in lines_of(second)))
    assert cli.main(["sweep", "status", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["running"] == 1
    assert cli.main(options(models, folder, "other", "--shard", "2/2")[3:]) == 2  # one driver per directory
    assert "works on this directory already" in capsys.readouterr().err
    interrupted.send_signal(signal.SIGINT)
    assert "stopped" in interrupted.communicate(timeout=120)[0] and interrupted.returncode == 130
    begun = [line["entry"] for line in lines_of(second) if line["event"] == "begun"]
    assert begun[-1] in {line["entry"] for line in lines_of(second) if line["event"] == "done"}  # the present one was finished
    for part in ("1/2", "2/2"):
        assert finish(options(models, folder, "other", "--shard", part))[1]["finished"]
    assert cli.main(["sweep", "merge", str(folder), "--json"]) == 0
    assert table(folder) == table(serial[0])


def test_a_second_signal_stops_now(models: Zoo) -> None:
    import psutil

    models.add("hang", weights_of("regular", 11))
    command = some(models, "signals", "--download-limit", "600", entries=("test/hang", "test/silent"))
    del models.records["test/hang"]  # of no other test
    process = start(command)
    wait_for(lambda: any(line["event"] == "begun" for line in lines_of(models.folder / "signals")))
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None and len(children) == 3  # it waits for the model at work, which hangs
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.communicate(timeout=30)[1] and process.returncode == 130
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_a_retry_is_about_what_failed_only(models: Zoo, serial: tuple[Path, int, dict[str, Any], str]) -> None:
    before = records_of(serial[0])
    code, found, _ = finish([*options(models, serial[0], "cache"), "--dry-run", "--retry-failed"])
    assert code == 0 and {job["entry"] for job in found["todo"]} == {*SICK, "test/memory"}
    assert found["cost"]["measured"] == 4 and records_of(serial[0]) == before


def some(models: Zoo, output: str, *more: str, entries: tuple[str, ...] = CHOSEN) -> list[str]:
    """The command of a sweep over a few models, with a cache of its own."""
    chosen = models.folder / f"{output}.jsonl"
    chosen.write_text("".join(json.dumps(models.records[entry]) + "\n" for entry in entries), encoding="utf-8")
    command = models.command(models.folder / output, f"cache-{output}", *more)
    command[command.index("--ids-from") + 1] = str(chosen)
    return command


def test_two_processes_of_torchrun_give_the_same_numbers(models: Zoo, serial: tuple[Path, int, dict[str, Any], str]) -> None:
    _, found, errors = finish(some(models, "torchrun", "--processes", "2"))
    assert (found["ok"], found["failed"]) == (2, 1), errors
    same(models.folder / "torchrun", serial[0], 2)


def test_ray_gives_the_same_rows(models: Zoo, serial: tuple[Path, int, dict[str, Any], str]) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (securitynet[ray])")
    _, found, errors = finish(some(models, "ray", "--engine", "ray", "--workers", "2"))
    assert (found["ok"], found["failed"]) == (2, 1), errors
    same(models.folder / "ray", serial[0], 1)


def same(folder: Path, reference: Path, processes: int) -> None:
    """The rows are the reference's; how many processes there were, and how one of several ended, is said as it is."""
    expected = {key: row for key, row in table(reference).items() if row["entry"] in CHOSEN}
    found = table(folder)
    for row in (*expected.values(), *found.values()):
        if processes > 1:
            row["processes"] = row["processes"] and processes
            row["reason"] = row["reason"] and row["reason"].replace("was killed by SIGSEGV", "ended with exit code 1")
    assert found == expected


def test_the_driver_imports_no_torch() -> None:
    import subprocess

    modules = "driver, fetcher, plan, progress, ray_cluster, serial, status"
    code = f"import sys, securitynet.download.http\nfrom securitynet.sweep import {modules}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
