"""rows.parquet: whole or not at all, written anew only where its rows changed; and what is read from it, or from the segments."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_sweep_parts import BINDING, job, outcome

from securitynet.cli import main
from securitynet.report.measure_table import load_rows, measure_table, rows_at
from securitynet.report.page.ranking import rankings
from securitynet.report.page.report_page import write_csv
from securitynet.report.stored_rows import Stored
from securitynet.results.row import Row
from securitynet.results.store import PARQUET, parquet, read, rows_of, tables
from securitynet.sweep import serial
from securitynet.sweep.merge import merge
from securitynet.sweep.state import Outcome, State


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(parquet, "GROUP", 6)  # a model


def told(name: str, value: float) -> Outcome:
    """A model with all that reports read: an accuracy, intervals, a copy at two budgets, a date."""
    found = outcome(job(name), value, n=50, ci_low=value - 0.1, ci_high=value + 0.1, date="2026-11-26T04:00:00", origin="securitynet")
    key: dict[str, Any] = {"entry": f"test/{name}", "seed": 0, "dataset": "CIFAR-10", "origin": "securitynet"}
    copies = [
        Row(**key, family="stealing", attack="stealing/knockoff", params='{"preset":"base"}', metric="agreement", value=value, budget=n)
        for n in (100, 500)
    ]
    accuracy = Row(**key, family="verify", attack="verify", metric="test_accuracy", value=value)
    return replace(found, rows=(*(replace(row, dataset="CIFAR-10") for row in found.rows), *copies, accuracy))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with State(tmp_path / "sweep", BINDING) as state:
        state.write_head(process="a test", jobs=6, attacks=[], shard=None, seconds=1.0)
        for place, name in enumerate("dbeac"):
            state.add(told(name, 0.5 + place / 20))
        state.add(serial.failed(job("z"), "it was ill"))
        state.compact()
    return tmp_path / "sweep"


def stored(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    return list(pyarrow.parquet.read_table(folder / PARQUET).to_pylist())


def expected(folder: Path) -> list[tuple[Any, ...]]:
    return sorted((row.entry, row.family, row.attack, row.metric, row.budget, row.value) for row in rows_of(read(folder)))


def test_it_is_in_order_and_in_groups_of_whole_models(folder: Path) -> None:
    import pyarrow.parquet

    rows = stored(folder)
    assert sorted(map(_short, rows)) == expected(folder) and len(rows) == 31
    order = [[row[name] for name in parquet.ORDER] for row in rows]
    assert order == sorted(order)
    with pyarrow.parquet.ParquetFile(folder / PARQUET) as file:
        groups = [set(file.read_row_group(number, ["entry"])["entry"].to_pylist()) for number in range(file.num_row_groups)]
    assert groups == [{f"test/{name}"} for name in "abcdez"]


def _short(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("entry", "family", "attack", "metric", "budget", "value"))


def test_it_is_written_only_where_its_rows_changed(folder: Path) -> None:
    before = (folder / PARQUET).stat().st_ino
    with State(folder, BINDING) as state:
        state.compact()
        assert (folder / PARQUET).stat().st_ino == before
        state.forget({("test/z", 0)})
        state.compact()
        assert (folder / PARQUET).stat().st_ino != before and {row["entry"] for row in stored(folder)} == {
            f"test/{name}" for name in "abcde"
        }


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a byte": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "cut off": lambda data: data[:-100],
    "empty": lambda _: b"",
    "text": lambda _: b"{nonsense\n",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_one_is_not_believed(folder: Path, kind: str) -> None:
    data = (folder / PARQUET).read_bytes()
    (folder / PARQUET).write_bytes(DAMAGE[kind](data))
    found = [row for table in tables(read(folder), ["entry", "family", "attack", "metric", "budget", "value"]) for row in table.to_pylist()]
    assert sorted(map(_short, found)) == expected(folder)
    with State(folder, BINDING) as state:
        state.compact()
    assert (folder / PARQUET).read_bytes() == data


def test_a_kill_while_it_is_written_leaves_the_one_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / PARQUET).read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with State(folder, BINDING) as state:
        state.add(told("f", 0.9))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(parquet, "_sorted", killed)
            state.compact()
    assert (folder / PARQUET).read_bytes() == before and not list(folder.glob(".*part"))
    assert {row["entry"] for table in tables(read(folder), ["entry"]) for row in table.to_pylist()} == {
        f"test/{name}" for name in "abcdefz"
    }


def test_rows_of_an_older_schema_and_odd_text_are_rows_too(folder: Path) -> None:
    segment = (folder / "rows" / "00000.jsonl").read_bytes().splitlines(keepends=True)
    old = segment[0].replace(b'"schema": 3, ', b"")
    odd = segment[1].replace(b'"reason": null', b'"reason": "a \\ud83d\\ude00 \\"schema\\": 2"')
    table = parquet.table_of(b"".join([old, odd, odd]))
    assert table["schema"].to_pylist() == [3, 3] and table["reason"].to_pylist() == [None, 'a \U0001f600 "schema": 2']


@pytest.mark.parametrize("fresh", [True, False])
def test_reports_of_a_sweep_are_those_of_its_rows(folder: Path, tmp_path: Path, fresh: bool) -> None:
    if not fresh:
        (folder / PARQUET).unlink()
    lazy, rows = rows_at([folder]), sorted(load_rows([folder]), key=lambda row: [getattr(row, name) for name in parquet.ORDER])
    assert isinstance(lazy, Stored) and list(lazy) == rows
    one, other = measure_table(lazy, {}), measure_table(rows, {})
    assert one.frame.equals(other.frame) and (one.measures, one.half) == (other.measures, other.half) and len(one.frame) == 5
    assert rankings(lazy) == rankings(rows) and {len(found.standings) for found in rankings(rows)} == {5}
    texts = [write_csv(given, tmp_path / name).read_text() for given, name in ((lazy, "a.csv"), (rows, "b.csv"))]
    assert texts[0] == texts[1]


def test_pages_of_a_sweep(folder: Path, tmp_path: Path) -> None:
    import datasets

    assert main(["leaderboard", str(folder), "--output", str(tmp_path / "board")]) == 0
    assert main(["report", str(folder), "--output", str(tmp_path / "report.html"), "--csv", str(tmp_path / "rows.csv")]) == 0
    table = datasets.Dataset.from_parquet(str(tmp_path / "board" / PARQUET), cache_dir=str(tmp_path / "cache"))
    assert len(table) == len(list(csv.DictReader((tmp_path / "rows.csv").open()))) == 31
    page = (tmp_path / "report.html").read_text()
    assert 'id="model-1"' not in page and "test/a" in page  # a sweep is no card of one model


def test_overlapping_shards_have_each_row_once(folder: Path, tmp_path: Path) -> None:
    with State(tmp_path / "other", BINDING) as state:
        state.write_head(process="a test", jobs=2, attacks=[], shard=None, seconds=1.0)
        state.add(told("g", 0.3))
        found = told("b", 0.55)
        state.add(replace(found, rows=tuple(replace(row, seconds=9.0, versions="{}") for row in found.rows[:4])))
    merged = merge([folder, tmp_path / "other"], tmp_path / "all")
    assert (merged.rows, merged.jobs) == (37, 7) and len({row["row_id"] for row in stored(tmp_path / "all")}) == 37
    assert merge([tmp_path / "all"], tmp_path / "all").rows == 37 and len(expected(tmp_path / "all")) == 37
