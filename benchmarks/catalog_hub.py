"""catalog import hub at full size, on a simulated Hub with a simulated clock that enforces the limits without a token.

usage: python benchmarks/catalog_hub.py [--repos 20000] [--kills 5] [--listing labels|reduced] [--records 25000]

Four things are measured: (1) one import: simulated minutes, requests, CPU seconds, memory; (2) the same, ended by the kernel so many
times, each after a random part of its processor time, must end with the same bytes; (3) a second import of the same state must change
no byte; (4) with so many records: `list`, `load_catalog()` and `check`. `--listing reduced`: the listing's configs do not name the
classes, so that every config.json is read, and hashes only of as many repos as the budget has left. Everything happens in a temporary
copy of the catalog.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hub_simulated import ENDPOINT, Clock, SimulatedHub

CATALOG = Path(__file__).parents[1] / "catalog"
SHOWN = ("simulated_minutes", "requests", "cpu_seconds", "files")
CLI = """
import sys
from pathlib import Path
from securitynet import catalog
FOLDER = Path(sys.argv.pop(1))
catalog.resources = type("Resources", (), {"files": staticmethod(lambda name: FOLDER)})
"""


def say(*words: object) -> None:
    """Write a line; objects as JSON."""
    sys.stdout.write(" ".join(json.dumps(one) if isinstance(one, dict) else str(one) for one in words) + "\n")
    sys.stdout.flush()


def one(folder: Path, args: argparse.Namespace, kill: float | None = None) -> dict[str, Any]:
    """Run one import in this process, which ends where it has used so many seconds."""
    from securitynet.importers.onhub.bulk import import_hub
    from securitynet.importers.onhub.calls import Calls
    from securitynet.importers.onhub.listed import Filters
    from securitynet.importers.onhub.quota import Quota

    lines = (CATALOG / "models" / "timm.jsonl").read_text(encoding="utf-8").splitlines()
    known = sorted({record["hub_id"] for record in map(json.loads, lines)} - {None})
    clock = Clock()
    hub = SimulatedHub(args.repos, tuple(known[: args.repos // 13]), labels=args.listing == "labels", clock=clock)
    signal.setitimer(signal.ITIMER_PROF, kill or 0)  # what SIGPROF does by default cannot be caught up with, as with SIGKILL
    report = import_hub(folder / "catalog", Calls(hub.send, Quota(clock.now, clock.sleep), ENDPOINT), folder / "state", Filters())
    signal.setitimer(signal.ITIMER_PROF, 0)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "simulated_minutes": round(clock.now() / 60, 2),
        "requests": dict(hub.counts),
        "refused": hub.refused,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1024),
        "report": {name: len(value) if isinstance(value, list) else value for name, value in asdict(report).items() if name != "files"},
        "files": report.files,
    }


def fresh(folder: Path) -> Path:
    """Return a folder with a copy of the catalog, and nothing that was read."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CATALOG, folder / "catalog", ignore=shutil.ignore_patterns("builtin", "__pycache__"))
    return folder


def content(folder: Path) -> str:
    """Return the sha256 over all records of a folder."""
    hasher = hashlib.sha256()
    for path in sorted((folder / "catalog").glob("*/*.jsonl")):
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()


def child(folder: Path, args: argparse.Namespace, kill: float | None = None) -> dict[str, Any] | None:
    """Run one import in a process of its own; None where it was killed."""
    command = [sys.executable, __file__, "--repos", str(args.repos), "--listing", args.listing, "--folder", str(folder)]
    done = subprocess.run([*command, *(["--kill", str(kill)] if kill else [])], capture_output=True, text=True)
    if done.returncode == -signal.SIGPROF:
        return None
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def enlarged(folder: Path, number: int) -> None:
    """Add simulated records until there are so many."""
    path = folder / "catalog" / "models" / "hub.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    there = sum(file.read_bytes().count(b"\n") for file in path.parent.glob("*.jsonl"))
    copies: list[str] = []
    for place in range(max(0, number - there)):
        record, name = json.loads(lines[place % len(lines)]), f"copy-{place}"
        known = record["weights_hash"] is not None
        copy: dict[str, Any] = {key: f"{record[key]}-{name}" for key in ("id", "name", "hub_id")} | {
            "same_weights_as": None,
            "aliases": None,
        }
        copy["weights_url"] = record["weights_url"] and record["weights_url"].replace(record["hub_id"], copy["hub_id"])
        copy |= {"weights_hash": hashlib.sha256(name.encode()).hexdigest(), "hash_algorithm": "sha256"} if known else {}
        copies.append(json.dumps({**record, **copy}, ensure_ascii=False))
    path.write_text("".join(f"{line}\n" for line in sorted(lines + copies, key=lambda line: json.loads(line)["id"])), encoding="utf-8")


def timed(folder: Path, code: str, *arguments: str) -> str:
    """Return the seconds of a process with this catalog, its start included: by the clock, and of processor time (user and system)."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", CLI + code, str(folder / "catalog"), *arguments], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:] + done.stdout[-2000:])
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return f"{seconds:.2f} ({after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime:.2f})"


def commands(folder: Path) -> dict[str, str]:
    """Return the seconds of what people do with a catalog of this size, processor time in brackets."""
    run = "from securitynet.cli import main\nraise SystemExit(main(sys.argv[1:]))"
    where = str(folder / "catalog")
    timed(folder, run, "catalog", "build", "--catalog", where)
    load = "import securitynet, time\nprint(len(securitynet.load_catalog()))"
    return {
        "list": timed(folder, run, "list"),
        "list --dataset": timed(folder, run, "list", "--dataset", "CIFAR-10"),
        "load_catalog(), first": timed(folder, load),
        "load_catalog(), again": timed(folder, load),
        "check": timed(folder, run, "catalog", "check", "--catalog", where),
    }


def main() -> None:
    """Run it and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repos", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--records", type=int, default=25_000)
    parser.add_argument("--listing", choices=("labels", "reduced"), default="labels")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kill", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        say(one(args.folder, args, args.kill))
        return
    with tempfile.TemporaryDirectory() as place:
        whole = fresh(Path(place) / "whole")
        first = child(whole, args)
        assert first is not None
        same = content(whole)
        again = child(whole, args)
        assert again is not None
        say("one import:", first)
        say("again:", {name: again[name] for name in SHOWN}, "no byte changed" if content(whole) == same else "DIFFERENT")
        killed, chance, moments = fresh(Path(place) / "killed"), random.Random(1), []
        while len(moments) < args.kills:
            moment = round(0.01 + chance.random() * first["cpu_seconds"], 2)
            if child(killed, args, moment) is None:
                moments.append(moment)
        last = child(killed, args)
        assert last is not None
        ended = "the same bytes" if content(killed) == same else "DIFFERENT"
        say(f"killed after {moments} seconds of its processor time, then:", {name: last[name] for name in SHOWN}, ended)
        if args.records:
            enlarged(whole, args.records)
            say(f"seconds with {args.records} records:", commands(whole))


if __name__ == "__main__":
    main()
