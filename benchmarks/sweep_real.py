"""The real driver at work on models that cost nothing: `python benchmarks/sweep_scale.py --real` (see there), in its three roles.

worker  what stands in for securitynet.sweep.worker: it speaks as that does, loads no model and returns rows that follow from the id
driver  one shard's driver: securitynet.sweep.driver.sweep() as the command calls it, with that worker
run()   starts a driver for each shard, kills drivers (alone or with their workers) and workers at random moments, starts again what
        was killed, joins the shards with securitynet.sweep.merge, and compares every row with what it must be
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from securitynet.entry import Entry
from securitynet.results.row import Row
from securitynet.results.store import JOURNAL, PARQUET, read
from securitynet.sweep import driver, serial
from securitynet.sweep.merge import merge
from securitynet.sweep.plan import Job, SweepSettings, ordered, shard
from securitynet.sweep.serve import Message, Owner, answered
from securitynet.sweep.state import settled_in

ATTACKS = [[f"membership/stub-{number}", "{}"] for number in range(4)]
METRICS = ("auc", "advantage")
TICK = 0.2  # seconds between two looks at what runs
DONE = b'"event": "done"'
UNBORN = "a process of the sweep does not start"  # a worker was killed as it started: this ends a sweep, and the same command goes on


def rows_of(entry: str, seed: int) -> list[Row]:
    """Return the rows of a model: they follow from its id and the seed."""
    numbers = random.Random(hashlib.sha256(f"{entry} {seed}".encode()).digest())
    key: dict[str, Any] = {"entry": entry, "seed": seed, "dataset": "CIFAR-10", "origin": "securitynet", "n": 1000}
    query = Row(**key, family="verify", attack="query", metric="queries", value=1000.0, queries=1000)
    attacks = [Row(**key, family="membership", attack=name, params=params, metric=metric, value=numbers.random())
               for name, params in ATTACKS for metric in METRICS]  # fmt: skip
    return [query, *attacks]


def jobs_of(models: int) -> list[Job]:
    """Return so many models of several sizes, in the order of a plan; they have no weights to fetch."""
    sizes = random.Random(0)
    return ordered(
        [Entry(id=f"stub/{n:05d}", dataset="CIFAR-10", loader="checkpoint", macs=sizes.randrange(10**7, 10**10)) for n in range(models)],
        [0],
    )


def worker() -> None:
    """Answer as the real worker does."""
    owner = Owner()
    while not (message := owner.next()).get("stop"):
        owner.answer(answered(_handled, message))


def _handled(message: Message) -> Message:
    if "probe" in message:
        return {"speed": 1e12}
    if "entry" not in message:
        return {"attacks": ATTACKS}
    rows = [row.to_record() for row in rows_of(message["entry"]["id"], message["seed"])]
    return {"rows": rows, "odd": [], "spoiled": None, "seconds": 0.001, "memory": psutil.Process().memory_info().rss}


class Silent:
    """A watcher that says nothing but what a person should know."""

    def planned(self, plan: driver.Plan) -> None:
        """Say nothing."""

    def begun(self, job: Job) -> None:
        """Say nothing."""

    def ended(self, outcome: Any) -> None:
        """Say nothing."""

    def noticed(self, what: str) -> None:
        """Say it on stderr."""
        sys.stderr.write(f"{what}\n")


def drive(folder: Path, models: int, index: int, count: int) -> int:
    """Run one shard's driver to its end; print its processor seconds and peak memory. Failures of before are tried again."""
    serial.command_of = lambda _: [sys.executable, str(Path(__file__).resolve()), "worker"]  # type: ignore[assignment]
    settings = SweepSettings(cache=str(folder / "cache"), attacks=("stub",), samples=1000)
    jobs = shard(jobs_of(models), (index, count), settings.samples)
    started = resource.getrusage(resource.RUSAGE_SELF)
    finished = driver.sweep(
        jobs, settings, folder / f"shard-{index}-of-{count}", Silent(), driver.How(retry=True, shard=f"{index}/{count}")
    )
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = used.ru_utime + used.ru_stime - started.ru_utime - started.ru_stime
    say(json.dumps({"seconds": seconds, "start": started.ru_utime + started.ru_stime, "memory": used.ru_maxrss * 1024}))
    return 0 if finished else 1


@dataclass
class Found:
    """What a run came to: wall seconds; processor seconds of the drivers that came to their end; kills by kind; rows at fault."""

    workers: int
    seconds: float = 0.0
    drivers: list[dict[str, float]] = field(default_factory=list)
    processors: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    joined: float = 0.0
    again: float = 0.0
    lost: int = 0
    doubled: int = 0
    other: int = 0
    rows: int = 0

    def __str__(self) -> str:
        """One line."""
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items())) or "none"
        memory = max(one["memory"] for one in self.drivers) / 1e6
        return (
            f"{self.workers:3d} workers: {self.seconds:6.0f} s, {self.processors:6.0f} s of processors, a driver's peak {memory:.0f} MB; "
            f"kills: {kills}; joined in {self.joined:.0f} s; nothing left to do found in {self.again:.1f} s of processors; "
            f"{self.lost} rows lost, {self.doubled} doubled, {self.other} differ of {self.rows:,}"
        )


class Shards:
    """The drivers of all shards; one that was killed is started again."""

    def __init__(self, folder: Path, models: int, count: int) -> None:
        self.folder, self.models, self.count = folder, models, count
        self.running = {index: self._start(index) for index in range(1, count + 1)}
        self.ended: list[dict[str, float]] = []
        self._places = dict.fromkeys(self.running, (0, 0))  # bytes of the journal that were looked at, and models settled there

    def _start(self, index: int) -> subprocess.Popen[str]:
        numbers = [str(number) for number in (self.models, index, self.count)]
        command = [sys.executable, str(Path(__file__).resolve()), "driver", str(self.folder), *numbers]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def look(self) -> None:
        """Take those that have ended, start again those that a kill ended; raise AssertionError where one failed."""
        for index, process in list(self.running.items()):
            if process.poll() is None:
                continue
            output, errors = process.communicate()
            del self.running[index]
            if process.returncode == 0:
                self.ended.append(json.loads(output))
            elif process.returncode < 0 or UNBORN in errors:
                self.running[index] = self._start(index)
            else:
                raise AssertionError(f"shard {index}: exit code {process.returncode}: {errors}")

    def settled(self) -> int:
        """Return how many models are settled, cheaply."""
        for index, (place, count) in self._places.items():
            path = self.folder / f"shard-{index}-of-{self.count}" / JOURNAL
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                size = file.seek(0, 2)
                place, count = (0, 0) if size < place else (place, count)
                file.seek(place)
                data = file.read(size - place)
                data = data[: data.rfind(b"\n") + 1]
                self._places[index] = place + len(data), count + data.count(DONE)
        return sum(count for _, count in self._places.values())

    def kill(self, kind: str, rng: random.Random) -> bool:
        """Kill a driver, one with all its processes, or a worker alone; say whether there was one."""
        process = rng.choice(list(self.running.values()))
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
            chosen = {"driver": [], "worker": below[:1], "all": below}[kind]
            if kind != "worker":
                process.kill()
            for child in chosen:
                child.kill()
            return kind != "worker" or bool(chosen)
        return False


def run(models: int, workers: int, kills: int, folder: Path) -> Found:
    """Sweep so many models with so many workers, kill, join, and compare."""
    found, rng, start = Found(workers), random.Random(workers), time.monotonic()
    before = _children()
    moments = sorted((rng.randrange(models) for _ in range(kills)), reverse=True)
    shards = Shards(folder, models, workers)
    while shards.running:
        time.sleep(TICK)
        shards.look()
        while moments and shards.running and shards.settled() >= moments[-1]:
            if shards.kill(kind := rng.choice(("driver", "worker", "all")), rng):
                found.kills[kind] += 1
            moments.pop()
    found.seconds, found.drivers, found.processors = time.monotonic() - start, shards.ended, _children() - before
    if found.kills["worker"]:  # what failed since its worker was killed twice is tried again, as a person would
        shards = _to_the_end(Shards(folder, models, workers))
    before = _children()
    _to_the_end(Shards(folder, models, workers))
    found.again = (_children() - before) / workers
    start = time.monotonic()
    merge([folder], folder / "joined")
    found.joined = time.monotonic() - start
    _compare(found, folder / "joined", models)
    return found


def _to_the_end(shards: Shards) -> Shards:
    while shards.running:
        time.sleep(TICK)
        shards.look()
    return shards


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _compare(found: Found, folder: Path, models: int) -> None:
    """Count the rows that are missing, there twice, or other ones than the model has; and jobs that are not settled once, as ok."""
    import pyarrow.parquet

    expected = {row.row_id: row for job in jobs_of(models) for row in rows_of(job.entry.id, 0)}
    contents = read(folder, thorough=True)
    rows = [row for batch in contents.batches for row in contents.rows(batch)]
    ids = {row.row_id for row in rows}
    found.rows, found.lost, found.doubled = len(rows), len(expected.keys() - ids), len(rows) - len(ids)
    found.other = sum(row != expected.get(row.row_id) for row in rows) + len(contents.damage)
    settled = settled_in(contents).by_job
    found.doubled += sum(len(lines) != 1 or lines[0]["status"] != "ok" for lines in settled.values())
    found.lost += models - len(settled) + abs(pyarrow.parquet.read_metadata(folder / PARQUET).num_rows - len(rows))


def real(models: int, workers: list[int], kills: int) -> int:
    """Do it with each number of workers; return how many rows are at fault."""
    faults = 0
    for count in workers:
        folder = Path(tempfile.mkdtemp(prefix="securitynet-scale-"))
        try:
            found = run(models, count, kills, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        say(str(found))
        ends = [one["seconds"] for one in found.drivers]
        say(f"    start of a driver {found.drivers[0]['start']:.1f} s of processors; the last run of each took {max(ends):.1f} s at most")
        faults += found.lost + found.doubled + found.other
    return faults


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        worker()
    else:
        sys.exit(drive(Path(sys.argv[2]), *map(int, sys.argv[3:])))
