"""Runs detectors over the population, in worker processes, and keeps one JSON line per model and detector."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from backdoor_population import Model

from securitynet.attack import params_of
from securitynet.attacks.resolve import name_of, resolve
from securitynet.data import draw
from securitynet.data.transform import Transform
from securitynet.errors import SecurityNetError, Skipped
from securitynet.memory import PeakMemory


@dataclass(frozen=True, eq=False)
class Task:
    """One detector on one model."""

    model: Model
    detector: str
    images: Path | None

    @property
    def key(self) -> tuple[str, str]:
        """What is done once."""
        return self.model.plan.name, self.detector


def measure(task: Task) -> dict[str, Any]:
    """Return the record of one detector on one model: its score, what it rests on, and its price."""
    from accelerate import Accelerator

    torch.set_num_threads(1)
    plan, accelerator = task.model.plan, Accelerator()
    [attack] = resolve(task.detector)
    target = task.model.target()
    splits = draw(task.model.images(task.images), Transform.of(target.entry), target.num_classes, samples=None)
    record: dict[str, Any] = {
        "model": plan.name, "dataset": target.entry.dataset, "ground": plan.ground, "network": plan.network,
        "classes": target.num_classes, "poison": plan.poison or "clean", "target": plan.target if plan.poison else None,
        "accuracy": task.model.accuracy, "success": task.model.success, "detector": name_of(attack),
        "device": accelerator.device.type,
    }  # fmt: skip
    start, cpu = time.perf_counter(), time.process_time()
    try:
        with PeakMemory(accelerator.device) as memory:
            evidence: Any = attack(target, splits, accelerator)
    except (Skipped, SecurityNetError) as error:
        return {**record, "status": "skipped", "reason": str(error)}
    found = {"score": evidence.score, "candidate": evidence.target_class, "p_value": evidence.p_value}
    found |= {"anomaly_index": evidence.anomaly_index, "statistics": np.round(evidence.statistics, 6).tolist()}
    price = {"seconds": round(time.perf_counter() - start, 3), "cpu_seconds": round(time.process_time() - cpu, 3)}
    price |= {"forward": evidence.forward, "backward": evidence.backward, "peak_memory": memory.peak}
    return {**record, "status": "ok", "params": params_of(attack), **found, **price}


def recorded(path: Path) -> list[dict[str, Any]]:
    """Return the records of a scores file; a line cut short by a kill is dropped."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def run(tasks: Sequence[Task], path: Path, workers: int, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the records of the tasks that `path` lacks as they come in, appended there, until `deadline` (time.monotonic)."""
    done = {(record["model"], record["detector"]) for record in recorded(path)}
    todo = iter([task for task in tasks if task.key not in done])
    path.parent.mkdir(parents=True, exist_ok=True)
    if workers <= 1:
        for task in todo:
            if time.monotonic() > deadline:
                return
            yield _kept(path, measure(task))
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    running: set[Future[dict[str, Any]]] = set()
    try:
        while time.monotonic() < deadline:
            running |= {pool.submit(measure, task) for _, task in zip(range(workers + 2 - len(running)), todo, strict=False)}
            if not running:
                return
            finished, running = wait(running, timeout=max(0.0, deadline - time.monotonic()), return_when=FIRST_COMPLETED)
            for future in finished:
                yield _kept(path, future.result())
    finally:
        for process in list(pool._processes.values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)


def _kept(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, separators=(",", ":")) + "\n")
    return record
