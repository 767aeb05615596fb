"""What a sweep costs beyond the evaluations themselves; prints one line per number.

Models are noisy copies of a built-in one behind a server of this machine, so that each is downloaded, hashed, loaded and asked.
  overhead  models of one kind, by turns, in one warm process and in a sweep: seconds per model, pair by pair, and the start apart
  overlap   a slow server: when weights were fetched and models computed, and how much of the fetching the computing hid
  memory    peak and resident memory of the worker, model by model
  kills     a sweep killed ten times at random moments and gone on with: its table beside that of an undisturbed one

usage: python benchmarks/sweep.py {overhead,overlap,memory,kills} [--models 100] [--rounds 5] [--attacks standard]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import resource
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
from safetensors.numpy import load, save

from securitynet import catalog
from securitynet.data.digits import digits
from securitynet.results.store import read, rows_of
from securitynet.sweep.status import MAY_DIFFER

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

        def ask(record: dict[str, Any]) -> tuple[float, float]:
            told = {"record": record, "data": str(folder / "images.npz"), "attacks": attacks, "cache": str(folder / "cache-warm")}
            print(json.dumps(told), file=warm.stdin, flush=True)
            took, used = warm.stdout.readline().split()  # type: ignore[union-attr]
            return float(took), float(used)

        ask(records[0])  # warms it up
        pairs, starts, work, used = [], [], 0.0, 0.0
        for turn in range(rounds):
            part = records[1:][turn::rounds]
            asked = [ask(record) for record in part]
            alone = statistics.median(wall for wall, _ in asked)
            work += sum(processor for _, processor in asked)
            before = processor_time()
            took, output = sweep(folder, f"turn-{turn}", part, attacks)
            used += processor_time() - before
            ends = sorted(line["evaluated"][1] for line in done(output))
            swept = statistics.median(later - sooner for sooner, later in itertools.pairwise(ends))
            pairs.append((alone, swept))
            starts.append(took - len(part) * swept)
            say(f"pair {turn + 1}, {len(part)} models each: {alone:.3f} s a model in one warm process, {swept:.3f} s in a sweep")
        warm.stdin.close()
    ratios = sorted(swept / alone - 1 for alone, swept in pairs)
    say(f"per model: {statistics.median(ratios):+.1%} (median of {rounds} pairs, {ratios[0]:+.1%} to {ratios[-1]:+.1%})")
    say(f"start and end of a sweep, however many models: {statistics.median(starts):.1f} s")
    say(f"processor time: {work:.1f} s in the warm process, {used:.1f} s in the sweeps with their starts")


def processor_time() -> float:
    """Return the processor seconds of all child processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


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


def kills(folder: Path, count: int, attacks: list[str], times: int = 10) -> None:
    """Kill the driver at random moments within what an undisturbed sweep takes, then let it end; compare the tables."""
    rng = np.random.default_rng()
    with models(folder, count) as records:
        took, undisturbed = sweep(folder, "undisturbed", records, attacks)
        run, output = command(folder, "killed", records, attacks)
        for _ in range(times):
            process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0, took / 2))
            process.kill()
            process.wait()
            say(f"killed with {len(done(output))} of {count} models settled")
        subprocess.run(run, check=True, capture_output=True)
    one, other = table(undisturbed), table(output)
    differing = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    say(f"{len(one)} rows undisturbed, {len(other)} after {times} kills; {len(differing)} of them differ (not counting {MAY_DIFFER})")


def table(output: Path) -> dict[str, dict[str, Any]]:
    """Return rows by id without the columns that no two runs share."""
    rows = {row.row_id: row.to_record() for row in rows_of(read(output))}
    return {key: {name: value for name, value in row.items() if name not in MAY_DIFFER} for key, row in rows.items()}


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)  # noqa: T201


def main() -> None:
    """Run one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "overlap", "memory", "kills"))
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--attacks", nargs="+", default=["standard"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="securitynet-") as name:
        if args.what == "overhead":
            overhead(Path(name), args.models, args.rounds, args.attacks)
        else:
            {"overlap": overlap, "memory": memory, "kills": kills}[args.what](Path(name), args.models, args.attacks)


if __name__ == "__main__":
    main()
