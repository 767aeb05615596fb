"""What is booked on an entry and what on the machine: failures of the network and of the disk, round by round."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from sweeping import bad, good, job

from securitynet.errors import SecurityNetError
from securitynet.sweep import faults
from securitynet.sweep.faults import DISK, NETWORK, Machine, host_of, hub
from securitynet.sweep.plan import Job
from securitynet.sweep.rounds import Rounds
from securitynet.sweep.state import Outcome


class Bench:
    """A sweep without a directory: what was booked, what was said, and which hosts answer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, patience: float = 60.0) -> None:
        self.booked: list[Outcome] = []
        self.said: list[str] = []
        self.dead: set[str] = set()
        self.asked: list[str] = []
        hosts = ["https://a", "https://b", "https://c"]
        self.machine = Machine((folder,), hosts, patience, lambda: False, self._say, 0.01)
        self.revive: Callable[[], None] = lambda: None
        monkeypatch.setattr(faults, "_answers", self._answers)

    def _answers(self, host: str) -> bool:
        self.asked.append(host)
        return host not in self.dead

    def _say(self, text: str) -> None:
        self.said.append(text)
        if len(self.said) == 3:
            self.revive()

    def run(self, jobs: list[Job], evaluate: Callable[[Job, int], Outcome]) -> list[list[str]]:
        """Run all rounds; return who was evaluated in each."""
        rounds = Rounds(self.machine, self.booked.append, {one.key: one for one in jobs})
        todo, found = list(jobs), []
        while todo:
            found.append([one.entry.id for one in todo])
            for one in todo:
                rounds.take(evaluate(one, len(found)))
            todo = rounds.next()
        assert rounds.booked == len(self.booked) == len(jobs)
        return found


def test_dead_addresses_of_one_host_are_the_entries_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    jobs = [*(job(f"dead-{number}") for number in range(20)), job("alive", "https://b")]
    rounds = bench.run(jobs, lambda one, _: bad(one, NETWORK) if "dead" in one.entry.id else good(one))
    assert [len(names) for names in rounds] == [21, 20] and not bench.said  # each had one more try at the end
    assert set(bench.asked) <= {"https://b", "https://c"}
    assert sum(outcome.status == "failed" for outcome in bench.booked) == 20


def test_a_network_that_is_gone_for_a_while_costs_nobody_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    bench.dead = {"https://a", "https://b", "https://c", hub()}
    bench.revive = bench.dead.clear
    jobs = [job(f"m{number}", f"https://{'abc'[number % 3]}") for number in range(9)]
    bench.run(jobs, lambda one, _: bad(one, NETWORK) if host_of(one.entry) in bench.dead else good(one))
    assert len(bench.said) == 3 and "the network is gone" in bench.said[0]
    assert {outcome.status for outcome in bench.booked} == {"ok"}


def test_the_only_host_counts_as_the_network_if_it_answered_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    bench.machine.hosts = ["https://a"]
    jobs = [job(f"m{number}") for number in range(6)]

    def evaluate(one: Job, _: int) -> Outcome:
        if len(bench.booked) == 2:
            bench.dead = {"https://a", hub()} if not bench.said else set()
        return bad(one, NETWORK) if bench.dead else good(one)

    bench.revive = lambda: bench.dead.clear()
    bench.run(jobs, evaluate)
    assert "the network is gone" in bench.said[0] and {outcome.status for outcome in bench.booked} == {"ok"}


@pytest.mark.parametrize(
    ("host", "silent", "booked"),
    [("https://a", False, True), ("https://a", True, False), ("http://127.0.0.1:9", True, True)],
)
def test_a_single_host_is_compared_with_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, silent: bool, booked: bool
) -> None:
    """Where the Hub answers, the host is at fault; where nobody does, the network; an address of this machine stands for itself."""
    bench = Bench(tmp_path, monkeypatch, patience=0.05)
    bench.machine.hosts, bench.dead = [host], {host, *([hub()] if silent else [])}
    jobs = [job(f"m{number}", host) for number in range(6)]
    if booked:
        bench.run(jobs, lambda one, _: bad(one, NETWORK))
        assert len(bench.booked) == 6 and not bench.said
    else:
        with pytest.raises(SecurityNetError, match="none of"):
            bench.run(jobs, lambda one, _: bad(one, NETWORK))
        assert not bench.booked


def test_dead_hosts_of_the_plan_do_not_hide_that_one_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    bench.machine.hosts = [f"https://dead-{number}" for number in range(5)] + ["https://alive"]
    bench.dead = {*bench.machine.hosts[:-1], hub()}
    jobs = [job("alive", "https://alive"), *(job(f"m{number}", f"https://dead-{number % 5}") for number in range(12))]
    bench.run(jobs, lambda one, _: bad(one, NETWORK) if host_of(one.entry) in bench.dead else good(one))
    assert not bench.said and len(bench.booked) == 13


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    full = [True]

    def write(folder: Path) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(faults, "_write", write)
    bench.revive = full.clear
    rounds = bench.run([job("a"), job("b")], lambda one, _: bad(one, DISK, "/cache/x") if full else good(one))
    assert rounds == [["test/a", "test/b"], ["test/a"]] and {outcome.status for outcome in bench.booked} == {"ok"}
    assert bench.said[0].startswith("/cache cannot be written (No space left on device); the sweep waits")


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, patience=0.05)
    bench.dead = {"https://a", "https://b", "https://c", hub()}
    with pytest.raises(SecurityNetError, match=r"the network is gone: none of .* answers; .* run the same command to go on"):
        bench.run([job(f"m{number}") for number in range(5)], lambda one, _: bad(one, NETWORK))
    assert not bench.booked


def test_a_directory_that_is_full_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    rounds = Rounds(bench.machine, bench.booked.append, {})
    tries: list[int] = []

    def write() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.EDQUOT, "Disk quota exceeded", "/out/rows/00000.jsonl")

    rounds.write(write)
    assert len(tries) == 3 and "/out/rows/00000.jsonl cannot be written (Disk quota exceeded)" in bench.said[0]
    with pytest.raises(PermissionError):
        rounds.write(lambda: (_ for _ in ()).throw(PermissionError(errno.EACCES, "Permission denied")))
