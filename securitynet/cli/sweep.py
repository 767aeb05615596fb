"""Evaluate many models: each once, every failure a row with its reason; run again, it goes on where it stopped.

Which models: the filters of `securitynet list`, or --ids-from FILE with an id or a record (JSON) a line. The directory then holds
rows/ (appended as models end), rows.parquet (at the end), journal.jsonl, and logs/ of what went wrong. Ctrl-C once ends the
sweep after the present model, twice at once. On a terminal there is one live line, elsewhere a JSON object a line on stderr.

examples:
  securitynet sweep --dataset CIFAR-10 --attacks standard
  securitynet sweep --dataset CIFAR-10 --attacks standard --dry-run
  securitynet sweep --source builtin --attacks standard membership:full --seeds 0 1 2 --output zoo
  securitynet sweep --dataset CIFAR-10 --output cifar --shard 3/16      # one of sixteen jobs of a cluster
  securitynet sweep merge cifar                                         # joins its shards
  securitynet sweep --dataset CIFAR-10 --engine ray --workers 8         # on a Ray cluster, or on this machine
  securitynet sweep --dataset CIFAR-10 --engine slurm --workers 16 --slurm partition=gpu
  securitynet sweep status cifar --check
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securitynet.cli import DONE, FAILED, INTERRUPTED, is_main_process
from securitynet.cli import _clusters as clusters
from securitynet.cli._options import add_json, add_precision, print_json
from securitynet.cli._sweeps import show_plan, show_status
from securitynet.errors import UsageError

if TYPE_CHECKING:
    from securitynet.sweep.plan import Job, SweepSettings

HELP = "evaluate many models; resume, shard, distribute"
FILTERS = ("dataset", "family", "source", "purpose")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options, and the commands `run` (the same without its name), `status` and `merge`."""
    _configure_run(parser)
    actions = parser.add_subparsers(title="commands", dest="action", metavar="run | status | merge")
    _configure_run(actions.add_parser("run", help="the same as without it", argument_default=argparse.SUPPRESS))
    look = actions.add_parser("status", help="how a sweep stands, also while it runs")
    look.add_argument("directory", metavar="DIR", help="of the sweep, or of its shards")
    look.add_argument("--check", action="store_true", help="read the digest of every row; exit code 1 where something is damaged")
    join = actions.add_parser("merge", help="join shards; the same row with different values is an error")
    join.add_argument("directories", metavar="DIR", nargs="+", help="of sweeps, or of their shards")
    join.add_argument("--output", metavar="DIR", help="where the result goes (default: the first DIR)")
    for sub in (look, join):
        sub.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")


def _configure_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pattern", metavar="PATTERN", help="glob on the id, such as 'pytorchcv/resnet*'")
    for name in FILTERS:
        parser.add_argument(f"--{name}", metavar="PATTERN", help=f"glob on the {name}")
    parser.add_argument("--all", action="store_true", help="the whole catalog: what no filter means has to be said")
    parser.add_argument("--ids-from", metavar="FILE", action="append", default=[], help="a file with an id or a JSON record a line")
    parser.add_argument("--attacks", nargs="+", default=["standard"], metavar="ATTACK", help="as of `evaluate` (default standard)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="evaluate with each of these seeds (default 0)")
    parser.add_argument("--samples", default="5000", metavar="N|all", help="at most N members and N non-members (default 5000)")
    parser.add_argument("--data", action="append", default=[], metavar="[DATASET=]PATH|HUB-ID", help="images of one dataset, or of all")
    parser.add_argument("--output", metavar="DIR", help="where results go, and where an earlier run is gone on with")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and what it would cost, and do nothing")
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed before")
    parser.add_argument("--shard", metavar="I/N", help="do only part I of N (I from 1), in a directory of its own in DIR")
    _configure_machine(parser)
    clusters.configure(parser)
    add_json(parser)


def _configure_machine(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_argument_group("the machine")
    add_precision(machine)
    machine.add_argument("--batch-size", type=int, metavar="N", help="images per pass (default 64, on a GPU 512), halved on lack of memory")
    machine.add_argument(
        "--time-limit", type=float, metavar="S", help="seconds that one model may take (default 3600, more for a large one)"
    )
    machine.add_argument("--download-limit", type=float, default=1800, metavar="S", help="seconds that its weights may take (default 1800)")
    machine.add_argument(
        "--patience",
        type=float,
        default=3600,
        metavar="S",
        help="seconds to wait while the disk is full or the network gone (default 3600)",
    )
    machine.add_argument("--test-every", type=float, default=60, metavar="S", help="seconds between two tests then (default 60)")
    machine.add_argument("--processes", type=int, metavar="N", help="that work on a model together (default: one per GPU, with ray one)")
    machine.add_argument("--threads", type=int, metavar="N", help="of each process on the CPU (default: all cores)")
    machine.add_argument("--cache-dir", metavar="DIR", help="where downloads, outputs and results are kept (default $SECURITYNET_CACHE)")
    machine.add_argument(
        "--cache-limit", metavar="SIZE", help="of the outputs kept, such as 20GB (default $SECURITYNET_CACHE_LIMIT, or 50GB)"
    )
    machine.add_argument(
        "--weights-limit", metavar="SIZE", help="of the weights kept of models that are done, such as 100GB, or 0 (default: all are kept)"
    )
    machine.add_argument("--offline", action="store_true", help="use only what is already here")


def run(args: argparse.Namespace) -> int:
    """Run, show or join; 1 where something failed or shards contradict each other, 130 where a signal ended it."""
    if args.action == "status":
        return _status(args)
    if args.action == "merge":
        return _merge(args)
    if not is_main_process():  # under torchrun the first process is the driver, and starts a world of its own
        return DONE
    from securitynet.sweep.plan import ordered, select, shard

    jobs = ordered(select(_query(args)), list(dict.fromkeys(args.seeds)))
    folder = Path(args.output or _default_folder(args))
    if args.engine == "slurm" and not args.dry_run:
        from securitynet.cli import _slurm

        return _slurm.run(args, len(jobs), folder, run)
    if args.shard:
        index, count = _shard(args.shard)
        jobs, folder = shard(jobs, (index, count), _samples(args)), folder / f"shard-{index}-of-{count}"
    return _dry_run(args, jobs, folder) if args.dry_run else _sweep(args, jobs, folder)


def _query(args: argparse.Namespace) -> Any:
    from securitynet.sweep.plan import Query

    given = [args.pattern, *(getattr(args, name) for name in FILTERS), *args.ids_from]
    if not args.all and not any(given):
        raise UsageError("which models? give a filter such as --dataset CIFAR-10, or --ids-from FILE, or --all for the whole catalog")
    return Query(args.pattern, args.dataset, args.family, args.source, args.purpose, tuple(args.ids_from))


def _settings(args: argparse.Namespace) -> SweepSettings:
    from securitynet.cache import cache_root, size_limit
    from securitynet.sweep.machine import gpus, threads
    from securitynet.sweep.plan import SweepSettings

    if args.engine == "serial" and not gpus() and (args.dtype != "fp32" or args.channels_last):
        raise UsageError("--dtype and --channels-last are for CUDA devices, there is none here; leave them out (fp32)")
    own = [str(Path(name).resolve()) if name.endswith(".py") else name for name in args.attacks]
    return SweepSettings(
        cache=str(cache_root(args.cache_dir).resolve()),
        attacks=tuple(own),
        samples=_samples(args),
        data=tuple(_data(given) for given in args.data),
        batch_size=args.batch_size,
        cache_limit=size_limit(args.cache_limit),
        weights_limit=None if args.weights_limit is None else size_limit(args.weights_limit),
        offline=args.offline,
        time_limit=args.time_limit,
        download_limit=args.download_limit,
        processes=args.processes or int(os.environ.get("WORLD_SIZE", "0")) or (max(1, gpus()) if args.engine == "serial" else 1),
        threads=args.threads or threads(),
        dtype=args.dtype,
        channels_last=args.channels_last,
    )


def _samples(args: argparse.Namespace) -> int | None:
    if args.samples != "all" and not (args.samples.isdigit() and int(args.samples) > 0):
        raise UsageError(f"--samples must be a positive number or 'all', not {args.samples!r}")
    return None if args.samples == "all" else int(args.samples)


def _data(given: str) -> tuple[str, str]:
    """`CIFAR-10=PATH`, or a path for all datasets; one that is here is made absolute."""
    from securitynet.data.dataset import find

    key, _, place = given.rpartition("=")
    record = find(key)
    if key and record is None:
        raise UsageError(f"--data {given}: {key!r} is no dataset of the catalog; write DATASET=PATH, or PATH alone")
    path = Path(place).expanduser()
    return record.key if record else "", str(path.resolve()) if path.exists() else place


def _default_folder(args: argparse.Namespace) -> str:
    """Another query goes on elsewhere, the same one where it stopped."""
    given = [args.pattern, *(getattr(args, name) for name in FILTERS), *(Path(name).stem for name in args.ids_from), *args.attacks]
    return "sweep-" + "-".join(
        re.sub(r"[^\w.]+", "-", Path(name).stem if name.endswith(".py") else name).strip("-") for name in given if name
    )


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text}: write I/N with I from 1 to N")
    return int(found[1]), int(found[2])


def _sweep(args: argparse.Namespace, jobs: list[Job], folder: Path) -> int:
    from securitynet.sweep.driver import How, sweep
    from securitynet.sweep.progress import Lines, Live

    settings = _settings(args)
    live = sys.stderr.isatty()
    with contextlib.ExitStack() as stack:
        watcher = stack.enter_context(Live(settings, sys.stderr)) if live else Lines(settings, sys.stderr)
        how = How(args.retry_failed, args.engine, clusters.cluster(args), args.shard, args.patience, args.test_every)
        finished = sweep(jobs, settings, folder, watcher, how)
    from securitynet.sweep.status import status

    found = status(folder)
    if args.json:
        print_json({"folder": str(folder), "finished": finished, **found})
    else:
        show_status(found)
        sys.stdout.write(f"{folder}\n" if finished else f"stopped; run the same command to go on in {folder}\n")
    if not finished:
        return INTERRUPTED
    return FAILED if found["failed"] else DONE


def _dry_run(args: argparse.Namespace, jobs: list[Job], folder: Path) -> int:
    from securitynet.sweep.driver import look

    plan = look(jobs, _settings(args), folder, args.retry_failed)
    if args.json:
        todo = [{"entry": job.entry.id, "seed": job.seed, "missing": job.missing, "impossible": job.impossible} for job in plan.todo]
        print_json({"folder": str(folder), "jobs": len(jobs), "attacks": plan.attacks, "cost": asdict(plan.cost), "todo": todo})
        return DONE
    show_plan(plan, folder)
    return DONE


def _status(args: argparse.Namespace) -> int:
    from securitynet.sweep.status import status

    found = status(Path(args.directory), args.check)
    if args.json:
        print_json(found)
    else:
        show_status(found)
    return FAILED if args.check and found["damage"] else DONE


def _merge(args: argparse.Namespace) -> int:
    from securitynet.sweep.merge import merge

    folders = [Path(name) for name in args.directories]
    merged = merge(folders, Path(args.output) if args.output else folders[0])
    if args.json:
        print_json({**asdict(merged), "folder": str(merged.folder)})
        return FAILED if merged.damage else DONE
    good = f"; {merged.made_good} failures of one shard were made good by another" if merged.made_good else ""
    for one in merged.damage:
        sys.stderr.write(f"damaged, and left out: {one}\n")
    sys.stdout.write(f"{merged.rows} rows of {merged.jobs} evaluations in {merged.folder}{good}\n")
    return FAILED if merged.damage else DONE
