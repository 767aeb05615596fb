"""Sweeps beyond this machine: 20,000 models on 1 to 64 workers, simulated with measured distributions; prints the efficiency curve.

Each model draws its record from the catalog, the error of the rule of thumb and whether it fails by seed: from what was measured, that
is the journals of real sweeps (--measured DIR ...), or the figures below. --speed is a worker's, in multiply-accumulates per second: an
assumption about one GPU unless it was measured. Models are dealt out as plan.ordered() and plan.shard() do. A worker computes one
after the other while fetchers run ahead of it; all workers share the site's line. Efficiency is the computing that was wanted over
workers x time.

With --real nothing is simulated but the models: the real drivers of so many shards, each with a worker that loads no model, settle
all models while --kills processes are killed at random moments; the exit code is 1 where a row is lost, doubled or another one.

usage: python benchmarks/sweep_scale.py [--models 20000] [--workers 1 2 4 8 16 32 64] [--line 1000] [--speed 1e12]
       [--measured DIR ...]
       python benchmarks/sweep_scale.py --real [--models 20000] [--workers 1 2 4 8 16 32 64] [--kills 30]
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securitynet import catalog
from securitynet.results.store import read
from securitynet.sweep.estimate import BYTES, FIXED, PARAMETERS, PATIENCE, SPEED, seconds_of
from securitynet.sweep.plan import Job, ordered, shares
from securitynet.sweep.state import read_head

START, RESTART = 6.0, 6.0  # seconds until a worker world answers: measured on two cores
FAILURES, HANGS = 0.02, 0.002  # of models: broken files and crashes; hangs that cost the whole time limit
SPREAD = 0.35  # standard deviation of log(seconds / rule of thumb)
AHEAD, FETCHERS = 4, 2


@dataclass(frozen=True)
class Site:
    """What workers share: megabits per second of the line, of one download; seconds that a hang costs; how models are dealt out."""

    line: float = 1000.0
    each: float = 200.0
    limit: float = 3600.0
    shards: bool = True


@dataclass(frozen=True)
class Load:
    """What each model costs: seconds by the rule, and in truth (a hang: the limit); bytes; whether the worker must start anew after it."""

    rule: np.ndarray
    seconds: np.ndarray
    size: np.ndarray
    restart: np.ndarray


def load(models: int, limit: float, speed: float, measured: list[float]) -> Load:
    """Return the costs of so many models, drawn with replacement from the catalog, in the order of a plan.

    `measured` are seconds over the rule of thumb; `speed` takes the place of the rule's.
    """
    rng = np.random.default_rng(0)
    known = [entry for entry in catalog.entries() if entry.loader is not None and entry.loader != "builtin"]
    drawn = ordered([known[number] for number in rng.integers(0, len(known), models)], [0])
    chosen = [job.entry for job in drawn]
    rule = np.asarray([FIXED + (seconds_of(job, 5000) - FIXED) * SPEED / speed for job in drawn])
    ratio = rng.choice(measured, models) if measured else rng.lognormal(0, SPREAD, models)
    size = np.asarray([entry.weights_size or BYTES * (entry.params or PARAMETERS) for entry in chosen], np.float64)
    fate = rng.random(models)
    broken, hung = fate < FAILURES, fate > 1 - HANGS
    seconds = np.where(hung, np.maximum(limit, PATIENCE * rule), np.where(broken, 2.0, rule * ratio))
    return Load(rule, seconds, size, hung | (broken & (rng.random(models) < 0.5)))


def simulate(costs: Load, workers: int, site: Site) -> dict[str, float]:
    """Return hours, efficiency, hours that the worker waited for weights, and by how much the last worker ended after the mean one.

    The line is shared evenly by the downloads that could run at once; a download never starts before its window opens.
    """
    count, fetchers = len(costs.seconds), workers * FETCHERS if site.shards else max(FETCHERS, workers // 2)
    rate = min(site.each, site.line / fetchers) * 1e6 / 8  # bytes per second
    if site.shards:
        found = [_run(costs, part, rate, 1) for part in shares(list(costs.rule), workers)]
    else:
        found = [_run(costs, range(count), rate, workers)]
    ends, waited = np.concatenate([ends for ends, _ in found]), sum(lost for _, lost in found)
    wanted = float(costs.seconds.sum())
    return {
        "hours": ends.max() / 3600,
        "efficiency": wanted / (workers * ends.max()),
        "waited": waited / workers / 3600,
        "tail": (ends.max() - ends.mean()) / 3600,
    }


def _run(costs: Load, queue: Sequence[int], rate: float, workers: int) -> tuple[np.ndarray, float]:
    """When each worker ends that takes from `queue`, fetchers running ahead of them, and how long they waited for weights."""
    free, waited = [START] * workers, 0.0
    fetchers = [0.0] * (FETCHERS if workers == 1 else max(FETCHERS, workers // 2))
    ahead, taken = AHEAD if workers == 1 else workers + AHEAD, [0.0] * len(queue)
    for place, model in enumerate(queue):
        opened = taken[place - ahead] if place >= ahead else 0.0  # the weights of so many models may wait on the disk
        there = max(heapq.heappop(fetchers), opened) + costs.size[model] / rate
        heapq.heappush(fetchers, there)
        now = heapq.heappop(free)
        waited += max(0.0, there - now)
        taken[place] = max(now, there)
        heapq.heappush(free, taken[place] + costs.seconds[model] + RESTART * costs.restart[model])
    return np.asarray(free), waited


def ratios(folders: list[Path]) -> list[float]:
    """Return, for each model that sweeps in `folders` measured, its seconds over the rule of thumb."""
    known = {entry.id: entry for entry in catalog.entries()}
    found = []
    for folder in folders:
        samples = read_head(folder)["binding"]["samples"]
        for line in (batch.line for batch in read(folder).batches):
            if line["seconds"] and line["entry"] in known:
                found.append(line["seconds"] / seconds_of(Job(known[line["entry"]], 0), samples))
    return found


def main() -> int:
    """Print the curve for shards and for Ray, then what another line, or a slower site, makes of it; or drive real sweeps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--line", type=float, default=1000.0, help="megabits per second of the whole site")
    parser.add_argument("--speed", type=float, default=1e12, help="multiply-accumulates per second of one worker")
    parser.add_argument("--measured", type=Path, nargs="+", default=[])
    parser.add_argument("--real", action="store_true", help="real drivers, and workers that load no model")
    parser.add_argument("--kills", type=int, default=30, help="of processes, with each number of workers")
    args = parser.parse_args()
    if args.real:
        from sweep_real import real

        return int(real(args.models, args.workers, args.kills) > 0)
    site = Site(line=args.line)
    costs = load(args.models, site.limit, args.speed, ratios(args.measured))
    say(f"{args.models} models: {costs.seconds.sum() / 3600:,.0f} h of computing, {costs.size.sum() / 1e12:.2f} TB of weights")
    variants = {
        "shards": site,
        "ray": replace(site, shards=False),
        "shards, a tenth of the line": replace(site, line=site.line / 10),
        "shards, time limit 10 min": replace(site, limit=600.0),
    }
    for name, variant in variants.items():
        say(f"{name}:")
        drawn = costs if variant.limit == site.limit else load(args.models, variant.limit, args.speed, ratios(args.measured))
        for workers in args.workers:
            found = simulate(drawn, workers, variant)
            facts = f"efficiency {found['efficiency']:5.1%}, waiting for weights {found['waited']:6.1f} h a worker"
            say(f"  {workers:3d} workers: {found['hours']:8.1f} h, {facts}, the last {found['tail']:5.1f} h after the mean")
    return 0


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
