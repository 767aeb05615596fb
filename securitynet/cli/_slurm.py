"""A sweep as an array of SLURM: submitted, or found again, followed, and joined when it has ended."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.cli import DONE, FAILED, INTERRUPTED
from securitynet.cli._options import print_json
from securitynet.cli._sweeps import show_status
from securitynet.errors import SecurityNetError, UsageError

if TYPE_CHECKING:
    from securitynet.sweep.slurm import Array

LOOKED = 5.0  # seconds between two looks at the array


@dataclass(frozen=True)
class Part:
    """One shard of the sweep that these options name to `command`. What is found out about a machine is found out where it runs."""

    command: Callable[[argparse.Namespace], int]
    options: Mapping[str, Any]
    shard: str

    def __call__(self) -> int:
        """Do it; return the exit code. Raises SecurityNetError where a signal ended it."""
        code = self.command(argparse.Namespace(**{**self.options, "engine": "serial", "shard": self.shard, "json": False}))
        if code == INTERRUPTED:
            raise SecurityNetError(f"shard {self.shard} was stopped by a signal; the same command goes on")
        return code

    def checkpoint(self) -> Any:
        """What runs when the task is requeued: the same, which goes on where it stopped."""
        from securitynet.sweep.slurm import requeued

        return requeued(self)


def run(args: argparse.Namespace, jobs: int, folder: Path, command: Callable[[argparse.Namespace], int]) -> int:
    """Do a sweep of so many jobs in `folder`, which all nodes must see, each shard by `command`; return the exit code.

    Raises UsageError where the directory is cut into other shards, or SLURM or submitit is missing.
    """
    from securitynet.sweep import slurm

    folder = folder.absolute()
    if args.shard or args.workers < 1:
        raise UsageError("--engine slurm cuts the sweep into --workers N shards itself; leave --shard out")
    if others := slurm.cut(folder) - {args.workers}:
        raise UsageError(f"{folder} is cut into {min(others)} shards already; give --workers {min(others)}, or another --output")
    folder.mkdir(parents=True, exist_ok=True)
    array = slurm.submitted(folder)
    if array is None:
        options = {**vars(args), "output": str(folder)}
        parts = [Part(command, options, f"{number}/{args.workers}") for number in range(1, args.workers + 1)]
        array = slurm.submit(folder, parts, args.slurm)
    _say(array=array.identity, shards=args.workers, jobs=jobs)
    return _ended(args, array, folder) if _followed(array, folder) else INTERRUPTED


def _followed(array: Array, folder: Path) -> bool:
    """Tell how the array goes on; return whether it ended by itself, and not with a signal to this process."""
    from securitynet.sweep.driver import Interrupts

    told: dict[str, Any] = {}
    with Interrupts() as interrupts:
        while not array.is_done:
            if interrupts.stopping():
                if array.here:
                    array.cancel()
                _say(noticed="stopped" if array.here else f"the array goes on; `scancel {array.identity}` ends it")
                sys.stdout.write(f"run the same command to go on in {folder}\n")
                return False
            found = {**_status(folder), "tasks": array.states}
            if found != told:
                _say(**found)
                told = found
            time.sleep(LOOKED)
    return True


def _status(folder: Path) -> dict[str, Any]:
    from securitynet.sweep.status import status

    try:
        found = status(folder)
    except UsageError:  # no task has begun
        return {}
    return {name: found[name] for name in ("settled", "jobs", "ok", "failed", "skipped", "suspect", "running")}


def _ended(args: argparse.Namespace, array: Array, folder: Path) -> int:
    """Join the shards; a task that did not end well is named with its log."""
    from securitynet.sweep.merge import merge
    from securitynet.sweep.status import status

    failures = array.failures()
    for failure in failures:
        _say(noticed=failure)
    if not any(folder.glob("shard-*/sweep.json")):
        raise SecurityNetError(f"no task of array {array.identity} began its shard: {failures[0] if failures else 'no reason is known'}")
    merged = merge([folder], folder)
    found = status(folder)
    if args.json:
        print_json({"folder": str(folder), "finished": not failures, "damaged": list(merged.damage), **found})
    else:
        show_status(found)
        sys.stdout.write(f"{folder}\n" if not failures else f"not all is done; run the same command to go on in {folder}\n")
    return FAILED if failures or merged.damage or found["failed"] else DONE


def _say(**facts: Any) -> None:
    sys.stderr.write(json.dumps(facts, ensure_ascii=False) + "\n")
    sys.stderr.flush()
