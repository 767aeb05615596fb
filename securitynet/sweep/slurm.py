"""A SLURM array, through submitit: each task does one shard of a sweep. Written, submitted, followed; gone on with when it is requeued."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securitynet.cache import replacing
from securitynet.errors import SecurityNetError, UsageError

UNKNOWN = "UNKNOWN"  # submitit's word where sacct says nothing
FILES, ARRAY = "slurm", "array.json"  # what submitit keeps, in the directory of the sweep; which array it is
DAY = 24 * 60  # minutes
REQUEUED = 1000  # times that a task may reach its time limit: a sweep goes on where it stopped
SIGNAL = 120  # seconds before the time limit at which a task is requeued
NOT_OURS = ("nodes", "tasks_per_node")  # a shard is one task


@dataclass(frozen=True)
class Array:
    """The tasks of an array; `identity` is what SLURM calls it. `here`: they are processes of this machine, and end with the sweep."""

    tasks: tuple[Any, ...]
    identity: str
    here: bool = False

    @property
    def is_done(self) -> bool:
        """Whether no task runs or waits any more: by their results, by sacct, and where that knows nothing, by squeue."""
        left = [task for task in self.tasks if not task.done()]
        return not left or (all(task.state == UNKNOWN for task in left) and not self._is_queued())

    def _is_queued(self) -> bool:
        command = ["squeue", "--noheader", "--format", "%i", "--jobs", self.identity]
        if self.here or shutil.which(command[0]) is None:
            return True
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return bool(done.stdout.strip()) or (done.returncode != 0 and "Invalid job id" not in done.stderr)

    @property
    def states(self) -> dict[str, int]:
        """How many tasks are in each state, in SLURM's words."""
        return dict(Counter("FINISHED" if task.paths.result_pickle.exists() else str(task.state).split()[0] for task in self.tasks))

    def cancel(self) -> None:
        """End all tasks."""
        for task in self.tasks:
            task.cancel(check=False)

    def failures(self) -> list[str]:
        """Return, for each task that ended without its shard being done, what it ended with and where its log is. Waits for all."""
        found = []
        for number, task in enumerate(self.tasks, 1):
            if not task.done():  # nobody knows what became of it
                found.append(f"task {number} ({task.job_id}) left the queue without a result; {task.paths.stderr} may say why")
            elif (error := task.exception()) is not None:
                lines = [line for line in str(error).splitlines() if line.strip(" -")]
                words = next((line for line in reversed(lines) if "Error" in line or "state:" in line), lines[-1] if lines else "no reason")
                found.append(f"task {number} ({task.job_id}): {words.strip()[:300]}; {task.paths.stderr} says more")
        return found


def options(given: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the cluster of submitit and the parameters that `NAME=VALUE` name, with numbers as numbers. Raises UsageError."""
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not sign or not name:
            raise UsageError(f"--slurm {text}: write NAME=VALUE, such as partition=gpu or time=720 (minutes)")
        if name in NOT_OURS:
            raise UsageError(f"--slurm {text}: a shard is one task on one node; use --workers for more shards, --processes for more GPUs")
        found[name] = int(value) if value.isdigit() else value
    return str(found.pop("cluster", "slurm")), found


def submit(folder: Path, tasks: Sequence[Callable[[], Any]], given: Sequence[str]) -> Array:
    """Submit one array of these tasks, and note it in `folder`, which all nodes must see.

    Raises UsageError where submitit or SLURM is missing or an option is wrong, SecurityNetError where SLURM refuses it.
    """
    submitit = _library()
    cluster, parameters = options(given)
    if cluster == "slurm":
        _found_slurm()
    try:
        limit = {"slurm_max_num_timeout": REQUEUED, "local_max_num_timeout": REQUEUED}
        executor = submitit.AutoExecutor(folder / FILES, cluster=cluster, **limit)
        shared = ("name", "timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "stderr_to_stdout")
        own = {name if name in shared else f"slurm_{name}": value for name, value in parameters.items()}
        executor.update_parameters(**{"name": "securitynet", "timeout_min": DAY, "slurm_signal_delay_s": SIGNAL, **own})
    except (NameError, ValueError, AssertionError) as error:
        raise UsageError(f"--slurm: {_first(error)}") from error
    try:
        with executor.batch():
            jobs = [executor.submit(task) for task in tasks]
    except (OSError, RuntimeError) as error:
        raise SecurityNetError(f"sbatch refuses the array: {_first(error)}; see --slurm NAME=VALUE") from error
    array = Array(tuple(jobs), jobs[0].job_id.partition("_")[0], cluster != "slurm")
    if not array.here:
        with replacing(folder / ARRAY) as part:
            part.write_text(json.dumps([job.job_id for job in jobs]) + "\n", encoding="utf-8")
    return array


def cut(folder: Path) -> set[int]:
    """Return into how many shards a directory was cut so far."""
    counts = (path.name.rpartition("-")[2] for path in folder.glob("shard-*-of-*"))
    return {int(count) for count in counts if count.isdigit()}


def submitted(folder: Path) -> Array | None:
    """Return the array that was submitted for this directory and is not done yet; None where there is none."""
    path = folder / ARRAY
    if not path.exists():
        return None
    submitit = _library()
    _found_slurm()
    jobs = [submitit.SlurmJob(folder=folder / FILES, job_id=name) for name in json.loads(path.read_text(encoding="utf-8"))]
    array = Array(tuple(jobs), jobs[0].job_id.partition("_")[0])
    return None if array.is_done else array


def requeued(task: Callable[[], Any]) -> Any:
    """Return what submitit's `checkpoint` is to return for a task that is run again, as it is, after its time limit or a preemption."""
    return _library().helpers.DelayedSubmission(task)


def _found_slurm() -> None:
    missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
    if missing:
        raise UsageError(
            f"--engine slurm: {', '.join(missing)} not found on PATH; run it where jobs are submitted, "
            "or try it on this machine with --slurm cluster=local"
        )


def _library() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UsageError("--engine slurm needs submitit: pip install 'securitynet[slurm]'") from error
    return submitit


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
