"""Runs detectors over the population, in worker processes, and keeps one JSON line per model and detector."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from backdoor_population import Model

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._covariates import kind_of
from securitynet.attacks.backdoor._ladder_evidence import LadderEvidence
from securitynet.attacks.backdoor.ladder import Ladder
from securitynet.attacks.protocols import params_of
from securitynet.attacks.resolve import name_of, resolve
from securitynet.data import Splits, draw
from securitynet.data.transform import Transform
from securitynet.errors import SecurityNetError
from securitynet.memory import PeakMemory
from securitynet.target import Target

HALVES = ("even", "odd")  # seeds
LADDER = "backdoor/ladder"  # with every stage, whatever the screens say
PUBLISHER = "backdoor/publisher_ladder"  # put together from those and beatrix


@dataclass(frozen=True, eq=False)
class Task:
    """One detector on one model."""

    model: Model
    detector: str
    images: Path | None
    cpu: bool = False

    @property
    def large(self) -> bool:
        """Whether its network keeps a processor busy for long."""
        return self.model.plan.ground.startswith("cifar")

    @property
    def key(self) -> tuple[str, str]:
        """What is done once."""
        return self.model.plan.name, self.detector


def measure(task: Task) -> list[dict[str, Any]]:
    """Return the records of one detector on one model, of the ladder one per stage: score, candidate, and price."""
    torch.set_num_threads(1)
    plan, accelerator = task.model.plan, Accelerator(cpu=task.cpu)
    attack: Any = Ladder(suspicion=1.0, budget=10**9) if task.detector == LADDER else resolve(task.detector)[0]
    target = task.model.target()
    splits = draw(task.model.images(task.images), Transform.of(target.entry), target.num_classes, samples=None)
    about: dict[str, Any] = {"task": task.detector, "model": plan.name, "ground": plan.ground, "network": plan.network}
    about |= {"dataset": target.entry.dataset, "classes": target.num_classes, "poison": plan.poison or "clean"}
    about |= {"target": plan.target if plan.poison and plan.poisoning.mode != "all-to-all" else None}
    about |= {"accuracy": task.model.accuracy, "success": task.model.success, "covariates": _covariates(target, splits, accelerator)}
    about |= {"device": accelerator.device.type, "status": "ok"}
    start = time.perf_counter()
    try:
        with PeakMemory(accelerator.device) as memory:
            evidence: Any = attack(target, splits, accelerator)
    except SecurityNetError as error:
        return [{**about, "detector": task.detector, "status": "skipped", "reason": str(error)}]
    except Exception as error:  # noqa: BLE001 - a failure costs one line, not the hours of the others
        return [{**about, "detector": task.detector, "status": "failed", "reason": f"{type(error).__name__}: {error}"[:500]}]
    seconds = time.perf_counter() - start
    if not isinstance(evidence, LadderEvidence):
        return [
            {**about, "detector": name_of(attack), "params": params_of(attack), **_found(evidence, seconds), "peak_memory": memory.peak}
        ]
    about["working"] = sorted({one.target_class for stage in evidence.stages for one in stage.evidence.recovered if one.works})
    about["mask"] = None if evidence.found is None else float(f"{evidence.found.share:.4g}")
    own = [(stage.name, stage.params, _found(stage.evidence, stage.seconds)) for stage in evidence.stages]
    return [{**about, "detector": name, "params": params, **found, "peak_memory": memory.peak} for name, params, found in own]


def _covariates(target: Target, splits: Splits, accelerator: Accelerator) -> dict[str, Any] | None:
    found = kind_of(target, splits, accelerator).covariates
    return None if found is None else found.record


def _found(evidence: BackdoorEvidence, seconds: float) -> dict[str, Any]:
    found = {"score": evidence.score, "candidate": evidence.target_class, "p_value": evidence.p_value}
    found |= {"anomaly_index": evidence.anomaly_index, "statistics": [_short(one) for one in evidence.statistics.tolist()]}
    return {**found, "forward": evidence.forward, "backward": evidence.backward, "seconds": round(seconds, 3)}


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def half_of(records: list[dict[str, Any]], half: str | None) -> list[dict[str, Any]]:
    """Return the records of networks with even or odd seeds; all for None."""
    return [one for one in records if half is None or int(one["model"].rpartition("-")[2]) % 2 == HALVES.index(half)]


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
    """Yield the records of the tasks that `path` lacks as they come in, appended there, until `deadline` (time.monotonic).

    With a GPU, large networks go to a quarter of the workers, which share it; a processor is as quick with the small ones.
    """
    done = {(record["model"], record["task"]) for record in recorded(path)}
    todo = [task for task in tasks if task.key not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    if workers <= 1:
        for task in todo:
            if time.monotonic() > deadline:
                return
            yield from _kept(path, measure(task))
        return
    gpu = max(1, workers // 4) if torch.cuda.is_available() and any(task.large for task in todo) else 0
    lanes = [_Lane([task for task in todo if bool(gpu) == task.large or not gpu], gpu or workers)]
    if gpu:
        lanes.append(_Lane([replace(task, cpu=True) for task in todo if not task.large], workers - gpu))
    try:
        while time.monotonic() < deadline and (running := [future for lane in lanes for future in lane.filled()]):
            finished, _ = wait(running, timeout=max(0.0, deadline - time.monotonic()), return_when=FIRST_COMPLETED)
            for future in finished:
                yield from _kept(path, future.result())
    finally:
        for lane in lanes:
            lane.end()


class _Lane:
    """Worker processes with tasks of their own."""

    def __init__(self, tasks: Sequence[Task], workers: int) -> None:
        self.tasks, self.workers = iter(tasks), workers
        self.pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        self.running: set[Future[list[dict[str, Any]]]] = set()

    def filled(self) -> set[Future[list[dict[str, Any]]]]:
        """Return what is at work, topped up."""
        self.running = {future for future in self.running if not future.done()}
        free = range(self.workers + 2 - len(self.running))
        self.running |= {self.pool.submit(measure, task) for _, task in zip(free, self.tasks, strict=False)}
        return self.running

    def end(self) -> None:
        """Stop the processes, whatever they do."""
        for process in list((self.pool._processes or {}).values()):
            process.terminate()
        self.pool.shutdown(wait=False, cancel_futures=True)


def _kept(path: Path, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))
    return records
