"""How well backdoor detectors tell backdoored models from clean ones: python benchmarks/backdoor.py --output DIR [--images DIR]

Trains a population (see backdoor_population), kept in DIR/models, runs the detectors on every model in --workers processes,
one line of DIR/scores.jsonl each, and prints a table per detector and poison: area under the ROC curve, true-positive rate at
5 % false positives with thresholds from the other datasets, cross-entropy and Brier score, all with 95 % intervals, and price.
What is there is not made again; --seconds ends the work in time, and a further call goes on.

  python benchmarks/backdoor.py --pack REAL/datasets --images DIR    # packs the images that the population needs
  python benchmarks/backdoor.py --tiny --output DIR                  # digits only: 12 clean, 12 backdoored
  python benchmarks/backdoor.py --output DIR --nulls FILE            # writes the clean models' scores as nulls
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from backdoor_files import nulls_of, power_of
from backdoor_images import images_of, pack
from backdoor_plans import GROUNDS, POISONS, TO_ALL, Plan, plans
from backdoor_population import Model, archive, models
from backdoor_scores import HALVES, LADDER, PUBLISHER, Task, half_of, recorded, run
from backdoor_table import table

from securitynet.attacks.backdoor.ladder import WEIGHTS
from securitynet.attacks.resolve import names

INSIDE = (LADDER, PUBLISHER, "backdoor/known_trigger", *WEIGHTS)  # the ladder gives them, or the table


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("population"), help="where models and scores are kept")
    parser.add_argument("--images", type=Path, help="folder of mnist.npz, fashion.npz, cifar.npz; without it, digits only")
    parser.add_argument("--pack", type=Path, metavar="DIR", help="write those from a folder of complete datasets, and end")
    parser.add_argument("--grounds", nargs="+", choices=GROUNDS, help="default: all that have images")
    parser.add_argument("--clean", type=int, default=10, help="clean models per dataset and architecture")
    parser.add_argument("--poisoned", type=int, default=2, help="backdoored models per dataset, architecture and poison")
    parser.add_argument("--poisons", nargs="+", default=list(POISONS), choices=(*POISONS, *TO_ALL))
    parser.add_argument("--first", type=int, default=0, help="added to the seeds: 20 gives clean networks that are in no null")
    parser.add_argument("--detectors", nargs="+", help="default: all of this family")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=86400.0, help="end after so many")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--scores-only", action="store_true", help="of the models that are there")
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--nulls", type=Path, help="write the clean models' scores and covariates there, other lines stay")
    parser.add_argument("--join", action="store_true", help="these are other networks than those of --nulls, and are added to them")
    parser.add_argument("--half", choices=HALVES, help="networks with even or odd seeds only, for --nulls")
    parser.add_argument("--power", type=Path, help="write there how many backdoored ones are found by those nulls")
    parser.add_argument("--tiny", action="store_true", help="12 clean and 3 x 4 backdoored models on small digits")
    args = parser.parse_args()
    if args.power and not args.nulls:
        parser.error("--power needs --nulls: the file that the verdicts rest on")
    return args


def main() -> None:
    args = options()
    deadline = time.monotonic() + args.seconds
    if args.pack:
        pack(args.pack, args.images)
        return
    if args.tiny:
        args.grounds, args.poisons, args.clean, args.poisoned = ["tiny"], [one for one in POISONS if one != "sinusoidal"], 12, 3
    args.grounds = args.grounds or (["digits"] if args.images is None else ["digits", "mnist", "fashion", "fashion5", "cifar"])
    if not (args.table_only or args.scores_only):
        train_all(args)
    scores = args.output / "scores.jsonl"
    if not (args.table_only or args.train_only):
        every = [model for model in models(args.output / "models") if wanted(model.plan, args)]
        detectors = args.detectors or [LADDER, *(name for name in names() if name.startswith("backdoor/") and name not in INSIDE)]
        start = time.monotonic()
        for done, record in enumerate(run(tasks(every, detectors, args.images), scores, args.workers, deadline), start=1):
            found = record.get("score", record.get("reason"))
            say(f"{time.monotonic() - start:6.1f} s {done:5}  {record['detector']:32} {record['model']:32} {found}")
    sys.stdout.write(table(list(models(args.output / "models")), recorded(scores)))
    if args.nulls:
        before = args.nulls.read_text(encoding="utf-8") if args.nulls.exists() else ""
        args.nulls.write_text(nulls_of(half_of(recorded(scores), args.half), before, args.join), encoding="utf-8")
    if args.power:
        args.power.write_text(power_of(recorded(scores), args.nulls.read_text(encoding="utf-8")), encoding="utf-8")


def train_all(args: argparse.Namespace) -> None:
    """Train the stacks that are not there, each in a process of its own, at most --workers at once."""
    jobs = []
    for ground in args.grounds:
        for name, stack in plans(ground, args.clean, args.poisoned, args.poisons, args.first).items():
            path = args.output / "models" / f"{name}.safetensors"
            if not path.exists():
                jobs.append((path, stack, args.images))
    if not jobs:
        return
    if args.workers <= 1:
        for job in jobs:
            say(train_one(*job))
        return
    jobs.sort(key=lambda job: job[0].name.startswith("cifar"), reverse=True)  # the longest first
    with ProcessPoolExecutor(min(args.workers, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        for words in pool.map(train_one, *zip(*jobs, strict=True)):
            say(words)


def train_one(path: Path, stack: Sequence[Plan], images: Path | None) -> str:
    """Train one stack and say how long it took and how its models came out."""
    torch.set_num_threads(1)
    device, start = torch.device("cuda" if torch.cuda.is_available() else "cpu"), time.monotonic()
    archive(path, stack, images_of(GROUNDS[stack[0].ground], images), device)
    found = [model for model in models(path.parent) if model.path == path]
    lines = [f"{path.stem}: {time.monotonic() - start:.1f} s on {device.type}"]
    for poison in dict.fromkeys(model.plan.poison for model in found):
        group = [model for model in found if model.plan.poison == poison]
        success = [f"{model.success:.2f}" for model in group if model.success is not None]
        accuracy = sum(model.accuracy for model in group) / len(group)
        lines.append(f"  {poison or 'clean':12} {len(group):3} models, mean accuracy {accuracy:.3f}, success {' '.join(success)}")
    return "\n".join(lines)


def wanted(plan: Plan, args: argparse.Namespace) -> bool:
    """Say whether a network is of the kind that this call trains."""
    return plan.ground in args.grounds and (plan.poison in args.poisons and args.poisoned > 0 if plan.poison else args.clean > 0)


def tasks(every: Sequence[Model], detectors: Sequence[str], images: Path | None) -> list[Task]:
    """Every detector on every model that counts, in an order that leaves a balanced sample wherever it is cut off."""
    groups: dict[tuple[str, str, str], list[Model]] = {}
    for model in every:
        if model.counts:
            groups.setdefault((model.plan.ground, model.plan.network, model.plan.poison), []).append(model)
    share = {id(model): (place + 0.5) / len(group) for group in groups.values() for place, model in enumerate(group)}
    ordered = sorted((model for group in groups.values() for model in group), key=lambda model: share[id(model)])
    return [Task(model, detector, images) for detector in detectors for model in ordered]


def say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
