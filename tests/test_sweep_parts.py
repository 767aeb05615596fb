"""The parts of a sweep: plan, estimate, children that die, the directory after a kill, joining. Nothing here imports torch."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweeping import lines_of, records_of

from securitynet.entry import Entry
from securitynet.errors import SecurityNetError, UsageError
from securitynet.results.row import Row
from securitynet.results.store import JOURNAL, PARQUET
from securitynet.sweep import estimate, serial
from securitynet.sweep.child import Child, Lost
from securitynet.sweep.machine import gpus, threads
from securitynet.sweep.merge import merge
from securitynet.sweep.plan import Job, Query, SweepSettings, ordered, select, shard
from securitynet.sweep.progress import Tally, duration
from securitynet.sweep.state import Outcome, Settled, State
from securitynet.sweep.status import status

ATTACKS = (("membership/loss", "{}"), ("membership/margin", "{}"))
BINDING = {"samples": 10, "data": []}
HEAD: dict[str, Any] = {"process": "a test", "jobs": 3, "attacks": ATTACKS, "shard": None, "seconds": 9.0}


def job(name: str, seed: int = 0, **columns: Any) -> Job:
    return Job(Entry(id=f"test/{name}", dataset="CIFAR-10", loader="checkpoint", **columns), seed, ATTACKS)


def outcome(of: Job, value: float = 0.5, attacks: Any = ATTACKS, **columns: Any) -> Outcome:
    key = {"entry": of.entry.id, "seed": of.seed}
    rows = [Row(**key, family="membership", attack=name, params=params, metric="auc", value=value, **columns) for name, params in attacks]
    query = Row(**key, family="verify", attack="query", metric="queries", value=20.0, queries=20)
    return Outcome(replace(of, missing=tuple(attacks)), (query, *rows), None, (100.0, 104.0), 4.0, 10**9)


def test_selection_is_that_of_list_and_of_files(tmp_path: Path) -> None:
    from securitynet import catalog

    assert [entry.id for entry in select(Query(dataset="cifar10", family="resnet"))] == catalog.list_models(
        dataset="CIFAR-10", family="resnet"
    )
    listed = tmp_path / "ids"
    listed.write_text('# mine\nakamaster/resnet20\n\n{"id": "akamaster/resnet44", "weights_url": "https://a/b"}\n{"id": "x/y"}\n')
    first, second, third = select(Query(ids_from=(str(listed),)))
    assert first == catalog.entry("akamaster/resnet20") and third == Entry(id="x/y")
    assert second == replace(catalog.entry("akamaster/resnet44"), weights_url="https://a/b")
    for text, words in (("akamaster/resnet21", "did you mean akamaster/resnet20"), ("{", "line 1: not JSON"), ("{}", "has no id")):
        listed.write_text(text)
        with pytest.raises(UsageError, match=words):
            select(Query(ids_from=(str(listed),)))
    with pytest.raises(UsageError, match="no entry of the catalog fits"):
        select(Query(source="nobody"))


def test_entries_that_share_images_stand_together_and_shards_part_them_evenly() -> None:
    entries = [Entry(id=f"a/{n}", dataset=("CIFAR-10", "SVHN")[n % 2], macs=n * 10**9) for n in range(20)]
    jobs = ordered(entries, [0, 1])
    groups = [(one.entry.dataset, one.seed) for one in jobs]
    assert groups == sorted(groups) and len(jobs) == 40
    parts = [shard(jobs, (index, 3), 5000) for index in (1, 2, 3)]
    assert sorted(one.key for part in parts for one in part) == sorted(one.key for one in jobs)
    costs = [sum(estimate.seconds_of(one, 5000) for one in part) for part in parts]
    assert max(costs) < 1.05 * min(costs) and all(part == [one for one in jobs if one in part] for part in parts)


def test_estimates_follow_from_records_and_measurements(tmp_path: Path) -> None:
    settings = SweepSettings(cache=str(tmp_path), samples=1000)
    known, unknown = (
        job("a", macs=10**9, params=10**6, weights_size=5 * 10**6, weights_url="https://a/a"),
        job("b", weights_url="https://a/b"),
    )
    seconds = 3 + 2000 * 1e9 / 2e10
    assert estimate.seconds_of(known, 1000) == pytest.approx(seconds)
    cost = estimate.estimate([known, unknown], settings, {}, [])
    assert (cost.unstated, cost.measured, cost.download) == (1, 0, 5 * 10**6 + 4 * 11 * 10**6)
    twice = estimate.estimate([known], settings, {("test/c", 0): 2 * seconds}, [job("c", macs=10**9)])
    assert twice.seconds == pytest.approx(2 * seconds) and twice.measured == 1
    assert [duration(number) for number in (3.4, 119, 600, 7200, 40 * 3600, 86400 * 14)] == [
        "3 s",
        "119 s",
        "10 min",
        "2.0 h",
        "40 h",
        "14 d",
    ]


@pytest.mark.parametrize(
    ("columns", "words"),
    [({"task": "multi-label"}, "multi-label"), ({"loadable": False, "loadable_reason": "code only"}, "code only"), ({}, None)],
)
def test_what_cannot_be_evaluated_is_known_before(columns: dict[str, Any], words: str | None) -> None:
    reason = job("a", **columns).impossible
    assert reason is None if words is None else reason is not None and words in reason


CHILD = """
import os, signal, sys, time
from securitynet.sweep.serve import Owner, answered

def handle(message):
    print("told", message["do"])
    if message["do"] == "raise": raise ValueError("two\\nlines")
    if message["do"] == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if message["do"] == "fault":
        import ctypes
        ctypes.string_at(0)
    if message["do"] == "exit": os._exit(7)
    if message["do"] == "hang": time.sleep(60)
    return {"pid": os.getpid()}

owner = Owner()
while not (message := owner.next()).get("stop"):
    owner.answer(answered(handle, message))
"""


@pytest.fixture
def child(tmp_path: Path) -> Any:
    (tmp_path / "child.py").write_text(CHILD)
    one = Child([sys.executable, str(tmp_path / "child.py")], {}, tmp_path / "child.log")
    yield one
    one.kill()


def test_a_child_that_dies_or_hangs_is_replaced(child: Child, tmp_path: Path) -> None:
    log = str(tmp_path / "one.log")
    first = child.ask({"do": "answer"})["pid"]
    assert child.ask({"do": "answer"})["pid"] == first
    reply = child.ask({"do": "raise", "log": log})
    assert reply == {"error": "ValueError: two lines", "unexpected": True, "fault": None, "path": None}
    assert child.ask({"do": "answer"})["pid"] == first  # an error is an answer
    endings = {"kill": "killed by SIGKILL", "fault": "killed by SIGSEGV", "exit": "exit code 7"}
    for what, words in endings.items():
        with pytest.raises(Lost, match=words):
            child.ask({"do": what, "log": log}, 30)
    start = time.monotonic()
    with pytest.raises(Lost, match=r"did not end within 0\.3 s"):
        child.ask({"do": "hang", "log": log}, 0.3)
    assert time.monotonic() - start < 5
    assert child.ask({"do": "answer"})["pid"] != first
    text = Path(log).read_text()
    assert "ValueError: two" in text and "Segmentation fault" in text and text.count("in handle") == 3  # two tracebacks, and where it hung


def test_a_world_that_grows_starts_anew() -> None:
    gigabyte = 1 << 30
    assert not serial.has_grown(gigabyte, 3 * gigabyte) and serial.has_grown(gigabyte, 3 * gigabyte + 1)


def test_every_engine_uses_the_threads_of_a_plain_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads() == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")  # torchrun's own choice, not the user's
    own = threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads() == own >= 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == 0


def test_a_closed_child_does_not_start_again(child: Child) -> None:
    child.ask({"do": "answer"})
    child.close()
    with pytest.raises(Lost, match="was stopped"):
        child.ask({"do": "answer"})


def test_a_child_that_does_not_start_is_said_to(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "raise SystemExit('no such luck')"], {}, tmp_path / "log")
    with pytest.raises(SecurityNetError, match="does not start"):
        child.ask({})
    assert "no such luck" in (tmp_path / "log").read_text()


def test_a_child_dies_with_its_owner(tmp_path: Path) -> None:
    import subprocess

    import psutil

    (tmp_path / "child.py").write_text(CHILD)
    owner = f"""
import os, sys
from pathlib import Path
from securitynet.sweep.child import Child
child = Child([sys.executable, {str(tmp_path / "child.py")!r}], {{}}, Path({str(tmp_path / "log")!r}))
print(child.ask({{"do": "answer"}})["pid"], flush=True)
child.ask({{"do": "hang"}})
"""
    process = subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    raise AssertionError("the child outlived its owner")


def test_a_kill_at_any_byte_leaves_whole_jobs(tmp_path: Path) -> None:
    """Rows come before the line that settles them: whatever was cut off, what stands is a number of whole jobs."""
    with State(tmp_path, BINDING) as state:
        state.write_head(**HEAD)
        for name in ("a", "b"):
            state.note("begun", entry=f"test/{name}", seed=0, time=1.0)
            state.add(outcome(job(name)))
    rows, journal = (tmp_path / "rows/00000.jsonl").read_bytes(), (tmp_path / JOURNAL).read_bytes()
    first = len(rows) // 2
    for rows_end, journal_end in [(first + cut, journal.index(b"test/b")) for cut in (0, 10, 400, first)] + [
        (len(rows), len(journal) - 5),
        (len(rows), len(journal)),
    ]:
        (tmp_path / "rows/00000.jsonl").write_bytes(rows[:rows_end])
        (tmp_path / JOURNAL).write_bytes(journal[:journal_end])
        with State(tmp_path, BINDING) as state:
            done = [name for name in ("a", "b") if not state.settled.missing(job(name), ATTACKS)]
        assert done == (["a", "b"] if journal_end == len(journal) else ["a"])
        assert {row["entry"] for row in records_of(tmp_path)} == {f"test/{name}" for name in done}
        assert len(records_of(tmp_path)) == 3 * len(done)


def test_more_attacks_later_add_their_rows_only(tmp_path: Path) -> None:
    with State(tmp_path, BINDING) as state:
        state.add(outcome(job("a"), attacks=ATTACKS[:1]))
    with State(tmp_path, BINDING) as state:
        assert state.settled.missing(job("a"), ATTACKS) == ATTACKS[1:]
        state.add(outcome(job("a"), attacks=ATTACKS[1:]))
    assert [row["attack"] for row in records_of(tmp_path)] == ["query", "membership/loss", "membership/margin"]


def test_rows_that_name_a_commit_belong_to_their_job(tmp_path: Path) -> None:
    with State(tmp_path, BINDING) as state:
        found = outcome(job("a"))
        state.add(replace(found, rows=tuple(replace(row, entry=f"{row.entry}@0123") for row in found.rows)))
    with State(tmp_path, BINDING) as state:
        assert not state.settled.missing(job("a"), ATTACKS) and len(records_of(tmp_path)) == 3


def test_what_failed_is_forgotten_when_it_is_tried_again(tmp_path: Path) -> None:
    with State(tmp_path, BINDING) as state:
        state.add(serial.failed(job("a"), "it was ill"))
        state.add(outcome(job("b")))
    with State(tmp_path, BINDING) as state:
        assert state.settled.failed(("test/a", 0)) and not state.settled.missing(job("a"), ATTACKS)
        state.forget({("test/a", 0)})
        assert state.settled.missing(job("a"), ATTACKS) == ATTACKS
    assert {row["entry"] for row in records_of(tmp_path)} == {"test/b"}


def test_one_sweep_per_directory_and_one_set_of_settings(tmp_path: Path) -> None:
    with State(tmp_path, BINDING) as state:
        state.write_head(**HEAD)
        with pytest.raises(UsageError, match=r"works on this directory already \(a test\)"), State(tmp_path, BINDING):
            pass
        assert status(tmp_path)["running"] == 1
    with pytest.raises(UsageError, match="samples 10, not 20"), State(tmp_path, {**BINDING, "samples": 20}):
        pass
    with State(tmp_path, BINDING):
        pass
    assert status(tmp_path)["running"] == 0


def filled(folder: Path, *outcomes: Outcome) -> Path:
    with State(folder, BINDING) as state:
        state.write_head(**{**HEAD, "jobs": len(outcomes)})
        for one in outcomes:
            state.add(one)
    return folder


def test_shards_are_joined_whatever_the_order(tmp_path: Path) -> None:
    filled(tmp_path / "shard-1-of-2", outcome(job("c")), outcome(job("a")))
    filled(tmp_path / "shard-2-of-2", outcome(job("b")), serial.failed(job("d"), "it was ill"))
    found = merge([tmp_path], tmp_path)
    assert (found.rows, found.jobs, found.made_good) == (10, 4, 0)
    rows = records_of(tmp_path)
    assert [row["entry"] for row in rows] == sorted(row["entry"] for row in rows)
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / PARQUET).num_rows == 10
    stands = status(tmp_path)
    assert stands["failures"][0] == {"entry": "test/d", "seed": 0, "reason": "it was ill"}
    done = [line for line in lines_of(tmp_path) if line["event"] == "done"]
    assert not Settled(done).missing(job("b"), ATTACKS)  # a sweep may go on in the joined directory
    assert merge([tmp_path], tmp_path).rows == 10  # joined again, it is the same


def test_the_table_is_that_of_a_dataset_of_results(tmp_path: Path) -> None:
    import datasets

    from securitynet.results.dataset import to_dataset

    outcomes = [outcome(job("b"), date="2026-11-26T04:00:00", processes=2, n=7), serial.failed(job("a"), "it was ill")]
    rows = [row for one in outcomes for row in one.rows]
    with State(tmp_path, BINDING) as state:
        for one in outcomes:
            state.add(one)
        path = state.compact()
    table = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    order = ("entry", "seed", "family", "attack", "params", "metric")
    expected = to_dataset(sorted(rows, key=lambda row: [getattr(row, name) for name in order]))
    assert table.to_list() == expected.to_list() and [row["entry"] for row in table] == ["test/a", *["test/b"] * 3]
    assert {**table.features, "date": expected.features["date"]} == expected.features  # Parquet has no seconds: milliseconds


def test_a_failure_that_another_shard_made_good_goes(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one", serial.failed(job("a"), "it was ill")), filled(tmp_path / "two", outcome(job("a")))
    found = merge([one, two], tmp_path / "all")
    assert (found.rows, found.made_good) == (3, 1) and "failed" not in {row["status"] for row in records_of(tmp_path / "all")}


def test_conflicts_are_errors_that_name_them(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one", outcome(job("a"))), filled(tmp_path / "two", outcome(job("a"), value=0.6))
    with pytest.raises(SecurityNetError, match=r"test/a seed 0 membership/loss \{\} auc: value 0\.5 and 0\.6"):
        merge([one, two], tmp_path / "all")
    assert not (tmp_path / "all").exists()
    three = filled(tmp_path / "three", outcome(job("a"), seconds=9.0, date="2026-01-01T00:00:00"))
    assert merge([one, three], tmp_path / "all").rows == 3
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="no sweep was begun here"):
        merge([tmp_path / "other"], tmp_path / "all")
    with State(tmp_path / "four", {**BINDING, "samples": 7}) as state:
        state.write_head(**HEAD)
    with pytest.raises(UsageError, match="different settings"):
        merge([one, tmp_path / "four"], tmp_path / "more")


def test_the_tally_counts_and_knows_when(tmp_path: Path) -> None:
    from securitynet.sweep.driver import planned

    settings = SweepSettings(cache=str(tmp_path), samples=10)
    jobs = [job(name, macs=10**6) for name in "abcd"]
    plan = planned(jobs, settings, ATTACKS, Settled([]))
    tally = Tally(settings)
    tally.planned(plan)
    assert tally.seconds_left == pytest.approx(plan.cost.seconds)
    tally.ended(outcome(jobs[0]))
    tally.ended(serial.failed(jobs[1], "it was ill"))
    record = tally.record()
    assert {name: record[name] for name in ("settled", "todo", "ok", "failed")} == {"settled": 2, "todo": 4, "ok": 1, "failed": 1}
    assert tally.images == 20 and tally.seconds_left < 5
