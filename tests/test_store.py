"""The store of rows: whatever happens to its files is noticed, named and mended, and nothing sound is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweeping import put_rows

from securitynet.errors import SecurityNetError
from securitynet.results.row import Row
from securitynet.results.store import Damage, RowStore, Store, read, rows_of, segments
from securitynet.sweep import state
from securitynet.sweep.merge import merge
from securitynet.sweep.plan import Job
from securitynet.sweep.state import Outcome, State
from securitynet.sweep.status import status

ATTACKS = (("membership/loss", "{}"), ("membership/margin", "{}"))
BINDING = {"samples": 10, "data": []}
HEAD: dict[str, Any] = {"process": "a test", "jobs": 5, "attacks": ATTACKS, "shard": None, "seconds": 9.0}
NAMES = ("a", "b", "c", "d", "e")
SEEDS = int(os.environ.get("SECURITYNET_TEST_SEEDS", "1"))  # how often each kind of damage is tried on each file


def rows_for(name: str, **columns: Any) -> list[Row]:
    key: dict[str, Any] = {"entry": f"test/{name}", "seed": 0, "dataset": "CIFAR-10", "origin": "securitynet", "n": 20}
    found = [Row(**key, family="membership", attack=attack, metric=metric, value=0.5 + len(metric) / 100, **columns)
             for attack, _ in ATTACKS for metric in ("auc", "advantage")]  # fmt: skip
    return [Row(**key, family="verify", attack="query", metric="queries", value=20.0, queries=20), *found]


def outcome(name: str) -> Outcome:
    from securitynet.entry import Entry

    job = Job(Entry(id=f"test/{name}", dataset="CIFAR-10", loader="checkpoint"), 0, ATTACKS)
    return Outcome(job, tuple(rows_for(name)), None, (100.0, 104.0), 4.0, 10**9)


def missing(folder: Path, noticed: Callable[[Damage], None], compact: bool = False) -> list[str]:
    """Run the sweep of these tests: open the directory, measure what is not settled; return what that was."""
    with State(folder, BINDING, noticed) as opened:
        todo = [name for name in NAMES if opened.settled.missing(outcome(name).job, ATTACKS)]
        opened.write_head(**HEAD)
        for name in todo:
            opened.note("begun", entry=f"test/{name}", seed=0, time=1.0)
            opened.add(outcome(name))
        if compact:
            opened.compact()
    return todo


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no machine goes down here


@pytest.fixture(params=["one segment", "sealed segments"])
def sweep(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "sealed segments":
        for module in ("store", "mend"):
            monkeypatch.setattr(f"securitynet.results.store.{module}.LIMIT", 10)  # two jobs each
    folder = tmp_path / "sweep"
    missing(folder, pytest.fail, compact=True)
    assert len(list((folder / "rows").iterdir())) == (3 if request.param == "sealed segments" else 1)
    return folder


def content(folder: Path) -> list[dict[str, Any]]:
    contents = read(folder, thorough=True)
    assert not contents.damage
    rows = [row.to_record() for batch in contents.batches for row in contents.rows(batch)]
    assert len({row["row_id"] for row in rows}) == len(rows)
    return sorted(rows, key=lambda row: row["row_id"])


Change = Callable[[bytes, random.Random], bytes]


def _lines(change: Callable[[list[bytes], random.Random], object]) -> Change:
    def changed(data: bytes, rng: random.Random) -> bytes:
        lines = data.splitlines(keepends=True)
        change(lines, rng)
        return b"".join(lines)

    return changed


def _swap(lines: list[bytes], rng: random.Random) -> None:
    first, second = rng.sample(range(len(lines)), 2) if len(lines) > 1 else (0, 0)
    lines[first], lines[second] = lines[second], lines[first]


def _flip(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 400))
    return data[:start] + bytes(end - start) + data[end:]


def _inside(old: bytes, new: bytes) -> Change:
    def changed(data: bytes, rng: random.Random) -> bytes:
        places = [place for place in range(len(data)) if data.startswith(old, place)]
        place = rng.choice(places)
        return data[:place] + new + data[place + len(old) :]

    return changed


DAMAGE: dict[str, Change] = {
    "bit flip": _flip,
    "cut off": lambda data, rng: data[: rng.randrange(len(data))],
    "half a line": lambda data, _: data[:-40],
    "emptied": lambda *_: b"",
    "line removed": _lines(lambda lines, rng: lines.pop(rng.randrange(len(lines)))),
    "line doubled": _lines(lambda lines, rng: lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))),
    "lines swapped": _lines(_swap),
    "line in halves": _lines(lambda lines, rng: lines.insert(0, lines.pop(rng.randrange(len(lines)))[:50] + b"\n")),
    "zeros": _zeroed,
    "zeros after": lambda data, _: data + bytes(512),
    "not JSON": lambda data, _: data + b"{nonsense\n",
    "deep": lambda data, _: data + b"[" * 100_000 + b"\n",
    "a list": _lines(lambda lines, rng: lines.insert(rng.randrange(len(lines) + 1), b"[1, 2]\n")),
    "not UTF-8": _lines(lambda lines, rng: lines.insert(rng.randrange(len(lines) + 1), b'{"entry": "\xff"}\n')),
    "an empty line": _lines(lambda lines, rng: lines.insert(rng.randrange(len(lines) + 1), b"\n")),
    "null value": _inside(b'"seed": 0', b'"seed": null'),
    "word": _inside(b'"seed": 0', b'"seed": "zero"'),
    "column missing": _inside(b'"entry":', b'"entri":'),
    "other value": _inside(b'"seed": 0', b'"seed": 7'),
    "not a number": _inside(b'"seed": 0', b'"seed": NaN'),
    "Windows": lambda data, _: data.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_noticed_named_and_mended(sweep: Path, kind: str) -> None:
    """In the journal and in every segment, sealed or not."""
    expected = content(sweep)
    files = [path.relative_to(sweep) for path in sorted(sweep.rglob("*.jsonl"))]
    for number in range(SEEDS):
        for file in files:
            rng = random.Random(f"{kind} {file} {number}")
            copy = sweep.parent / "copy"
            shutil.copytree(sweep, copy)
            before = (copy / file).read_bytes()
            if b'"seed": 0' not in before and kind in ("null value", "word", "other value", "not a number", "column missing"):
                shutil.rmtree(copy)
                continue
            (copy / file).write_bytes(DAMAGE[kind](before, rng))
            if (copy / file).read_bytes() != before:
                check_mended(copy, str(file), expected)
            shutil.rmtree(copy)


def check_mended(folder: Path, file: str, expected: list[dict[str, Any]]) -> None:
    """The damage in one file is named by all who look, what is sound counts, and the same sweep run again has the same rows."""
    found = status(folder, check=True)
    assert any(file in ("journal.jsonl", one[: len(file)]) for one in found["damage"]), found[
        "damage"
    ]  # of lost lines, their rows are named
    sound = [row.to_record() for row in rows_of(read(folder))]
    assert all(row in expected for row in sound)
    noticed: list[Damage] = []
    todo = missing(folder, noticed.append)
    assert noticed and len(todo) + found["settled"] == len(NAMES)
    assert content(folder) == expected
    assert missing(folder, pytest.fail) == [] and not status(folder, check=True)["damage"]


def test_only_the_jobs_of_damaged_rows_are_measured_again(sweep: Path) -> None:
    segment = sweep / "rows" / "00000.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([*lines[:7], b"{nonsense\n", lines[7].replace(b'"n": 20', b'"n": 21'), *lines[8:]]))
    noticed: list[Damage] = []
    assert missing(sweep, noticed.append) == ["b"]
    named = [str(one) for one in noticed]
    assert "rows/00000.jsonl, line 8: not JSON" in named and any(
        one.startswith("rows/00000.jsonl, line 9: a value was changed") for one in named
    )
    assert "rows/00000.jsonl: 4 of the 5 rows of test/b seed 0 are there and sound; it is not settled any more" in named
    aside = (sweep / "rows" / "00000.jsonl.damaged").read_bytes()
    assert b"{nonsense\n" in aside and b'"n": 21' in aside


@pytest.mark.parametrize("gone", ["journal.jsonl", "rows", "rows/00000.jsonl", "sweep.json", "rows.parquet"])
def test_what_was_removed_is_measured_again(sweep: Path, gone: str) -> None:
    expected = content(sweep)
    path = sweep / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if gone != "rows.parquet":
        assert status(sweep, check=True)["damage"]
    missing(sweep, lambda _: None, compact=True)
    assert content(sweep) == expected and (sweep / "rows.parquet").exists() and not status(sweep, check=True)["damage"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"binding": 3}', "\0\0"])
def test_a_damaged_head_is_that_of_the_journal(sweep: Path, text: str) -> None:
    (sweep / "sweep.json").write_text(text)
    assert status(sweep)["jobs"] == 5 and status(sweep)["damage"] == ["sweep.json: it is damaged; the journal has what it said"]
    assert missing(sweep, lambda _: None) == [] and not status(sweep)["damage"]


def test_a_sealed_segment_is_read_only_where_its_seal_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securitynet.results.store.store.LIMIT", 10)
    missing(tmp_path, pytest.fail)
    expected = content(tmp_path)
    sealed = tmp_path / "rows" / "00000.jsonl"
    stat, data = sealed.stat(), sealed.read_bytes()
    sealed.write_bytes(data.replace(b'"n": 20', b'"n": 21', 1))
    os.utime(sealed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not status(tmp_path)["damage"]  # same size, same time
    (damage, _) = status(tmp_path, check=True)["damage"]
    assert damage.startswith("rows/00000.jsonl")
    found = merge([tmp_path], tmp_path.parent / "joined")
    assert found.jobs == 4 and found.damage
    noticed: list[Damage] = []
    missing(tmp_path, noticed.append, compact=True)  # the end of a sweep reads every row
    assert noticed and missing(tmp_path, noticed.append) == ["a"] and content(tmp_path) == expected


def test_a_copy_whose_times_differ_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("securitynet.results.store.store.LIMIT", 10)
    missing(tmp_path / "one", pytest.fail)
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    assert not status(tmp_path / "two")["damage"] and missing(tmp_path / "two", pytest.fail) == []
    seals = read(tmp_path / "two").segments
    assert [one.seal is not None for one in seals.values()] == [True, True, False] and content(tmp_path / "two") == content(
        tmp_path / "one"
    )


def test_a_contradiction_is_refused_and_measured_again(tmp_path: Path) -> None:
    missing(tmp_path / "one", pytest.fail)
    segment = tmp_path / "one" / "rows" / "00000.jsonl"
    data = segment.read_bytes()
    segment.write_bytes(data + data.splitlines(keepends=True)[0].replace(b'"n": ', b'"n": 9'))
    assert "rows/00000.jsonl, line 26: it contradicts line 1, which has the same key" in status(tmp_path / "one")["damage"]
    with pytest.raises(SecurityNetError, match="line 26: it contradicts line 1"):
        merge([tmp_path / "one"], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()
    missing(tmp_path / "one", lambda _: None)
    assert merge([tmp_path / "one"], tmp_path / "joined").rows == 25


def old(folder: Path) -> Path:
    """A sweep's directory as it was before there were segments."""
    folder.mkdir()
    rows, journal = "", ""
    for name in NAMES:
        journal += json.dumps({"event": "begun", "entry": f"test/{name}", "seed": 0, "time": 1.0}) + "\n"
        rows += "".join(json.dumps(row.to_record()) + "\n" for row in rows_for(name))
        facts = {"entry": f"test/{name}", "seed": 0, "attacks": ATTACKS, "status": "ok", "named": f"test/{name}", "reason": None}
        times = {"fetched": None, "evaluated": [100.0, 104.0], "seconds": 4.0, "memory": 10**9, "images": 20}
        journal += json.dumps({"event": "done", **facts, **times}) + "\n"
    (folder / "rows.jsonl").write_text(rows)
    (folder / "journal.jsonl").write_text(journal)
    (folder / "sweep.json").write_text(json.dumps({"binding": BINDING, **HEAD}))
    return folder


def test_a_directory_of_before_is_read_and_continued(tmp_path: Path) -> None:
    folder = old(tmp_path / "old")
    found = status(folder)
    assert (found["settled"], found["ok"], found["damage"]) == (5, 5, [])
    assert merge([folder], tmp_path / "joined").rows == 25 and (folder / "rows.jsonl").exists()
    assert missing(folder, pytest.fail) == [] and not (folder / "rows.jsonl").exists()
    missing(tmp_path / "new", pytest.fail)
    assert content(folder) == content(tmp_path / "new") == content(tmp_path / "joined")


@pytest.mark.parametrize("kind", sorted(set(DAMAGE) - {"line removed", "cut off", "line in halves", "bit flip", "other value"}))
@pytest.mark.parametrize("file", ["rows.jsonl", "journal.jsonl"])
def test_damage_in_a_directory_of_before(tmp_path: Path, file: str, kind: str) -> None:
    """What such a journal did not count cannot be missed: a removed row of several of one attack, a changed value."""
    expected = sorted((row.to_record() for name in NAMES for row in rows_for(name)), key=lambda row: row["row_id"])
    for number in range(4):
        folder = old(tmp_path / f"old-{number}")
        before = (folder / file).read_bytes()
        (folder / file).write_bytes(DAMAGE[kind](before, random.Random(number)))
        harmless = kind in ("lines swapped", "Windows")  # no row is lost by these
        assert status(folder)["damage"] or harmless
        missing(folder, lambda _: None)
        assert content(folder) == expected and missing(folder, pytest.fail) == []


def test_nothing_half_stands_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with State(tmp_path, BINDING) as opened:
        opened.write_head(**HEAD)
        opened.add(outcome("a"))
        before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}

        def full(file: int) -> None:
            raise OSError(28, "No space left on device")

        for which in (1, 2):
            calls: list[int] = []

            def sync(file: int, calls: list[int] = calls, which: int = which) -> None:
                calls.append(file)
                if len(calls) == which:
                    full(file)

            with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as error:
                patch.setattr(os, "fsync", sync)
                opened.add(outcome("b"))
            assert error.value.filename is not None and {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")} == before
        opened.add(outcome("b"))
    assert missing(tmp_path, pytest.fail) == ["c", "d", "e"]


def test_processes_share_a_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=put_rows, args=(str(tmp_path), worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert len(content(tmp_path)) == 15 + 4 * 15
    store = RowStore(tmp_path)
    assert all(store.get(f"own-{worker}-{number}") for worker in range(4) for number in range(15))
    assert store.get("shared-3") and list(store.evidence["shared-3"]["scores"]) == list(range(5))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Path]:
    store = RowStore(tmp_path / "kept")
    for name in ("one", "two"):
        store.put(name, rows_for(name), {"scores": np.arange(4)})
    yield tmp_path / "kept"


@pytest.mark.parametrize("file", ["one.npz", "rows/00000.jsonl"])
def test_a_damaged_result_counts_as_absent(kept: Path, file: str, caplog: pytest.LogCaptureFixture) -> None:
    data = (kept / file).read_bytes()
    (kept / file).write_bytes(data[:40] + b"#" + data[41:])
    store = RowStore(kept)
    assert store.get("one") is None and store.get("two") == rows_for("two")
    assert "computed again" in caplog.text
    store.put("one", rows_for("one"), {"scores": np.arange(4)})
    assert RowStore(kept).get("one") == rows_for("one")


def test_results_of_before_are_read(tmp_path: Path) -> None:
    from securitynet.results.store import save_arrays, write_rows

    write_rows(tmp_path / "old.jsonl", rows_for("a"))
    save_arrays(tmp_path / "old.npz", {"scores": np.arange(3)})
    store = RowStore(tmp_path)
    assert store.get("old") == rows_for("a") and list(store.evidence["old"]["scores"]) == [0, 1, 2]
    (tmp_path / "old.jsonl").write_text("{nonsense\n")
    assert RowStore(tmp_path).get("old") is None


def test_status_reads_a_directory_where_it_may_not_write(sweep: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sweep.rglob("*")}
    assert status(sweep, check=True)["settled"] == 5
    assert {path: path.stat().st_mtime_ns for path in sweep.rglob("*")} == before


def test_reports_read_the_directory_of_a_sweep(sweep: Path) -> None:
    from securitynet.hub.results import read_results
    from securitynet.report.measure_table import load_rows

    assert len(load_rows([sweep])) == len(read_results(sweep)) == 25


def test_a_segment_holds_at_most_ten_thousand_rows(tmp_path: Path) -> None:
    store = Store(tmp_path, pytest.fail, sync=False)
    rows = [Row(entry="x", attack=f"a/{number}", metric="auc", value=0.5) for number in range(300)]
    for number in range(70):
        store.add(rows, f"job {number}")
    assert segments.LIMIT == 10_000
    lines = [len(path.read_bytes().splitlines()) for path in sorted((tmp_path / "rows").iterdir())]
    assert lines == [9900, 9900, 1200] and list(read(tmp_path).journal.seals) == [0, 1]


def test_a_sweep_that_starts_does_not_mind_those_who_look(sweep: Path) -> None:
    import fcntl

    with (sweep / "lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        process = subprocess.Popen(["sleep", "0.5"])
        assert not state.is_running(sweep)
        process.wait()
        fcntl.flock(looking, fcntl.LOCK_UN)
        assert missing(sweep, pytest.fail) == []
