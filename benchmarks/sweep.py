"""What a sweep costs beyond the evaluations themselves; prints one line per number.

Models are noisy copies of a built-in one behind a server of this machine, so that each is downloaded, hashed, loaded and asked.
  overhead  models of one kind, by turns, in one warm process and in a sweep: processor seconds and seconds per model, pair by
            pair, and the start apart; on a machine that does other work, only the processor seconds can be compared
  overlap   a slow server: when weights were fetched and models computed, and how much of the fetching the computing hid
  memory    peak and resident memory of the worker, model by model
  kills     sweeps killed at random moments, the driver alone or with all its processes, and gone on with; rows lost, doubled
            and differing beside an undisturbed one. The exit code is 1 where there are any

usage: python benchmarks/sweep.py {overhead,overlap,memory,kills} [--models 100] [--rounds 5] [--kills 100] [--attacks standard]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from safetensors.numpy import load, save

from securitynet import catalog
from securitynet.data.digits import digits
from securitynet.results.store import read, rows_of
from securitynet.sweep.merge import MAY_DIFFER

COLUMNS = ("architecture", "architecture_args", "num_classes", "input_size", "channels", "mean", "std", "crop", "params", "macs")
COMMAND = [sys.executable, "-c", "import sys; from securitynet.cli import main; sys.exit(main())", "sweep"]
WARM = """
import json, sys, time
from securitynet.entry import Entry
from securitynet.evaluation import evaluate
for line in sys.stdin:
    told = json.loads(line)
    start, used = time.perf_counter(), time.process_time()
    evaluate(Entry.from_record(told["record"]), told["data"], told["attacks"], cache_dir=told["cache"])
    print(time.perf_counter() - start, time.process_time() - used, flush=True)
"""


@contextmanager
def models(folder: Path, count: int, seconds: float = 0.0) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of `count` models behind a server that takes so many seconds for each."""
    arrays = load((resources.files("securitynet.catalog") / "builtin/digits-regular/model.safetensors").read_bytes())
    key = next(key for key, value in arrays.items() if value.ndim == 4)
    files: dict[str, bytes] = {}
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 1e-3, arrays[key].shape).astype(np.float32)
        files[f"/{number:03d}.safetensors"] = save({**arrays, key: arrays[key] + noise})

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            body = files[self.path]
            time.sleep(seconds)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chosen = np.random.default_rng(0).permutation(1797)
    pixels, labels = (array[chosen] for array in digits())
    np.savez(folder / "images.npz", x_train=pixels[:900], y_train=labels[:900], x_test=pixels[900:], y_test=labels[900:])
    same = {name: value for name, value in catalog.entry("builtin/digits-regular").to_record().items() if name in COLUMNS}
    yield [
        {**same, "id": f"bench{path.removesuffix('.safetensors')}", "source": "bench", "name": path[1:4], "loader": "checkpoint"}
        | {"weights_url": f"http://127.0.0.1:{server.server_address[1]}{path}", "weights_size": len(body)}
        | {"weights_hash": hashlib.sha256(body).hexdigest(), "hash_algorithm": "sha256"}
        for path, body in files.items()
    ]
    server.shutdown()


def command(folder: Path, name: str, records: list[dict[str, Any]], attacks: list[str]) -> tuple[list[str], Path]:
    """Return the command of a sweep over the records, with a cache of its own, and its directory."""
    listed, output = folder / f"{name}.jsonl", folder / name
    listed.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    options = ["--data", str(folder / "images.npz"), "--cache-dir", str(folder / f"cache-{name}"), "--output", str(output)]
    return [*COMMAND, "--ids-from", str(listed), *options, "--attacks", *attacks], output


def sweep(folder: Path, name: str, records: list[dict[str, Any]], attacks: list[str]) -> tuple[float, Path]:
    """Run a sweep over the records; return its seconds and its directory."""
    run, output = command(folder, name, records, attacks)
    start = time.perf_counter()
    subprocess.run(run, check=True, capture_output=True)
    return time.perf_counter() - start, output


def done(output: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal that settle a model."""
    return [dict(batch.line) for batch in read(output).batches]


def overhead(folder: Path, count: int, rounds: int, attacks: list[str]) -> None:
    """Compare by turns; every model is new to both sides, whose caches are their own."""
    with (
        models(folder, count) as records,
        subprocess.Popen([sys.executable, "-c", WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as warm,
    ):
        assert warm.stdin is not None and warm.stdout is not None

        def ask(record: dict[str, Any]) -> np.ndarray:
            told = {"record": record, "data": str(folder / "images.npz"), "attacks": attacks, "cache": str(folder / "cache-warm")}
            print(json.dumps(told), file=warm.stdin, flush=True)
            return np.array(warm.stdout.readline().split(), float)  # type: ignore[union-attr]

        ask(records[0])  # warms it up
        pairs, starts = [], []
        for turn in range(rounds):
            part = records[1:][turn::rounds]
            alone = np.mean([ask(record) for record in part], axis=0)
            start = time.perf_counter()
            swept = followed(folder, f"turn-{turn}", part, attacks)
            starts.append(time.perf_counter() - start - len(part) * swept[0])
            pairs.append((alone, swept))
            say(f"pair {turn + 1}, {len(part)} models each: {spent(alone)} a model in one warm process, {spent(swept)} in a sweep")
        warm.stdin.close()
    for place, name in enumerate(("seconds", "processor seconds")):
        ratios = sorted(swept[place] / alone[place] - 1 for alone, swept in pairs)
        say(f"{name} per model: {statistics.median(ratios):+.1%} (median of {rounds} pairs, {ratios[0]:+.1%} to {ratios[-1]:+.1%})")
    say(f"start and end of a sweep, however many models: {statistics.median(starts):.1f} s")


def spent(pair: np.ndarray) -> str:
    """Return seconds and processor seconds as text."""
    return f"{pair[0]:.3f} s ({pair[1]:.3f} s of processors)"


def followed(folder: Path, name: str, records: list[dict[str, Any]], attacks: list[str]) -> np.ndarray:
    """Run a sweep; return seconds and processor seconds of all its processes per model, from the first settled one to the last but one."""
    run, output = command(folder, name, records, attacks)
    marks: dict[int, tuple[float, float]] = {}
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            settled = settled_in(output)
            if settled and settled not in marks:
                with contextlib.suppress(psutil.NoSuchProcess):
                    marks[settled] = (time.perf_counter(), processor_time(process.pid))
            time.sleep(0.05)
    first, last = min(marks), max(number for number in marks if number < len(records))
    return (np.array(marks[last]) - np.array(marks[first])) / (last - first)


def settled_in(output: Path) -> int:
    """Return how many models are settled in a directory that a sweep works on, cheaply."""
    path = output / "journal.jsonl"
    return path.read_bytes().count(b'"event": "done"') if path.exists() else 0


def processor_time(pid: int) -> float:
    """Return the processor seconds of a process and all below it, those that have ended among them."""
    root = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:4]) for process in (root, *root.children(recursive=True)))


def overlap(folder: Path, count: int, attacks: list[str]) -> None:
    """Fetch from a server that takes two seconds a model."""
    with models(folder, count, 2.0) as records:
        took, output = sweep(folder, "overlap", records, attacks)
    lines = sorted(done(output), key=lambda line: line["evaluated"][0])
    zero = min(line["fetched"][0] for line in lines)
    for line in lines[:6]:
        spans = [f"{name} {start - zero:5.2f} to {end - zero:5.2f} s" for name in ("fetched", "evaluated") for start, end in [line[name]]]
        say(f"{line['entry']}: {', '.join(spans)}")
    fetching = sum(line["fetched"][1] - line["fetched"][0] for line in lines)
    computing = sum(line["evaluated"][1] - line["evaluated"][0] for line in lines)
    idle = sum(max(0.0, later["evaluated"][0] - sooner["evaluated"][1]) for sooner, later in itertools.pairwise(lines))
    say(f"{count} models: fetching {fetching:.1f} s, computing {computing:.1f} s, waiting between models {idle:.1f} s, all {took:.1f} s")


def memory(folder: Path, count: int, attacks: list[str]) -> None:
    """Follow the worker's memory from model to model."""
    with models(folder, count) as records:
        _, output = sweep(folder, "memory", records, attacks)
    peaks: dict[str, int] = {}
    for row in rows_of(read(output)):
        peaks[row.entry] = max(peaks.get(row.entry, 0), row.peak_memory or 0)
    entries = [line["entry"] for line in done(output)]
    resident = {line["entry"]: line["memory"] for line in done(output)}
    for place in sorted({0, 1, 4, 9, count // 4, count // 2, count - 1}):
        say(f"model {place + 1}: peak {peaks[entries[place]] / 1e6:.0f} MB, afterwards {resident[entries[place]] / 1e6:.0f} MB")
    say(f"peak of model {count} over that of model 5: {peaks[entries[-1]] / peaks[entries[4]]:.3f}")


def kills(folder: Path, count: int, times: int, attacks: list[str]) -> int:
    """Kill sweeps at random moments within what an undisturbed one takes, go on with each to its end; return the rows at fault."""
    rng = np.random.default_rng()
    faults = killed = fruitful = resumed = 0
    with models(folder, count) as records:
        took, undisturbed = sweep(folder, "undisturbed", records, [*attacks, "--samples", "100"])
        expected = table(undisturbed)
        say(f"undisturbed: {took:.1f} s, {len(expected)} rows")
        for number in itertools.count():
            run, output = command(folder, f"killed-{number}", records, [*attacks, "--samples", "100"])
            while killed < times and settled_in(output) < count:
                before = settled_in(output)
                moment, start = float(rng.uniform(0, took)), time.perf_counter()
                if not kill(run, moment, bool(rng.integers(2))):
                    took = took if before else time.perf_counter() - start  # it had ended: the machine is faster now
                else:
                    killed, fruitful = killed + 1, fruitful + (settled_in(output) > before)
                    resumed += settled_in(output) > 0
            subprocess.run(run, check=True, capture_output=True)
            found, rows = table(output), len(list(rows_of(read(output, thorough=True))))
            lost, other = len(expected.keys() - found.keys()), sum(found[key] != expected.get(key) for key in found)
            faults += lost + (rows - len(found)) + other
            what = f"{lost} rows lost, {rows - len(found)} doubled, {other} differ of {len(found)}"
            say(f"{killed} kills, {resumed} with models settled before, {fruitful} with models settled in that very run: {what}")
            if killed >= times:
                return faults
    raise AssertionError


def kill(run: list[str], seconds: float, whole: bool) -> bool:
    """Start a sweep and kill its driver after so many seconds, `whole` with all its processes; say whether it was still running."""
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return False
        below = psutil.Process(process.pid).children(recursive=True) if whole else []
        process.kill()
        for child in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    return True


def table(output: Path) -> dict[str, dict[str, Any]]:
    """Return rows by id without the columns that no two runs share."""
    rows = {row.row_id: row.to_record() for row in rows_of(read(output))}
    return {key: {name: value for name, value in row.items() if name not in MAY_DIFFER} for key, row in rows.items()}


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)  # noqa: T201


def main() -> int:
    """Run one of the four; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "overlap", "memory", "kills"))
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--attacks", nargs="+", default=["standard"])
    args = parser.parse_args()
    if args.what == "overhead" and args.models < 3 * args.rounds + 1:
        parser.error(f"overhead needs three models a round and one more: --models {3 * args.rounds + 1} for {args.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="securitynet-") as name:
        if args.what == "kills":
            return int(kills(Path(name), args.models, args.kills, args.attacks) > 0)
        if args.what == "overhead":
            overhead(Path(name), args.models, args.rounds, args.attacks)
        else:
            {"overlap": overlap, "memory": memory}[args.what](Path(name), args.models, args.attacks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
