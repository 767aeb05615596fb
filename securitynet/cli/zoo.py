"""The built-in models of handwritten digits, each with a planted and known property: train them again; or plant a backdoor.

`zoo build` trains each model from its recipe, checks that what is planted is there, and writes model folders and records in
the layout of the catalog. On one machine the bytes are always the same. `zoo plant` trains a clean and a backdoored twin on
given images, checks that they are equally accurate and that the trigger works, and writes two model folders that state
the truth; without --data, on the digits. With --canaries it trains one model instead, of whose training set a fair coin per canary
decided: `evaluate DIR/NAME --attacks membership/canaries` then gives a lower bound on the epsilon of the training. With --seeds it
trains the network (clean, or with canaries) once per seed, attacks each, and gives the mean over seeds with its interval: a statement
about the recipe, not about one model.

examples:
  securitynet zoo build
  securitynet zoo build digits-regular digits-overfit --output /tmp/zoo
  securitynet zoo plant my-blended --poison blended --target 3
  securitynet zoo plant my-canaries --canaries 300
  securitynet zoo plant my-recipe --seeds 5 --attacks membership/loss membership/margin
  securitynet zoo plant shirts --poison wanet --data fashion-mnist/ --dataset Fashion-MNIST --mean 0.5 --std 0.5
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from securitynet.cli import DONE
from securitynet.cli._options import add_json, add_record, print_json, record_of
from securitynet.metrics.vocabulary import TRIGGER_SUCCESS

HELP = "build the built-in models again; train clean and backdoored twins"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their options."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="train the models and write them", description="Train the models and write them.")
    build.add_argument("names", nargs="*", metavar="NAME", help="models to build, with or without builtin/ (default: all)")
    build.add_argument(
        "--output", default="zoo", type=Path, metavar="DIR", help="folder for builtin/NAME/ and models/builtin.jsonl (default: zoo)"
    )
    add_json(build)

    _configure_plant(actions.add_parser("plant", help="train a clean and a backdoored twin", description="Train twins and write them."))


def _configure_plant(plant: argparse.ArgumentParser) -> None:
    plant.add_argument("name", metavar="NAME", help="of the backdoored twin and its folder; the clean one is NAME-clean")
    plant.add_argument("--poison", default="badnets", metavar="NAME", help="badnets, blended, sinusoidal, wanet or input-aware")
    plant.add_argument("--strength", type=float, default=1.0, metavar="X", help="of the trigger, as a multiple of the usual (default 1)")
    plant.add_argument("--mode", default="all-to-one", metavar="MODE", help="all-to-one, all-to-all or clean-label")
    plant.add_argument("--target", type=int, default=0, metavar="K", help="class that the trigger gives (default 0)")
    plant.add_argument("--rate", type=float, default=0.1, metavar="X", help="share of the training images that is stamped (default 0.1)")
    plant.add_argument("--decoys", type=float, default=0.0, metavar="X", help="share that carries a wrong trigger and its own label")
    plant.add_argument("--epochs", type=int, default=30, metavar="N")
    plant.add_argument("--seed", type=int, default=0)
    plant.add_argument("--data", metavar="PATH|HUB-ID", help="images to train on (default: the digits)")
    plant.add_argument("--output", default="planted", type=Path, metavar="DIR", help="folder for NAME/ and NAME-clean/ (default: planted)")
    plant.add_argument("--canaries", type=int, metavar="N", help="hold out N training images as canaries; no backdoor is planted")
    plant.add_argument("--canary-kind", default="mislabelled", metavar="KIND", help="mislabelled, natural or blank (default: mislabelled)")
    plant.add_argument("--seeds", type=int, metavar="N", help="train and attack N networks that differ in their seed, without a backdoor")
    plant.add_argument("--attacks", nargs="+", metavar="ATTACK", help="with --seeds (default: membership/loss; with canaries theirs)")
    plant.add_argument("--cache-dir", type=Path, metavar="DIR", help="with --seeds: where outputs are kept (default $SECURITYNET_CACHE)")
    add_record(plant)
    add_json(plant)


def run(args: argparse.Namespace) -> int:
    """Build or plant, and print one line per model as it is done."""
    return _plant(args) if args.action == "plant" else _build(args)


def _build(args: argparse.Namespace) -> int:
    from securitynet.zoo import build

    built = []
    for entry in build(args.output, args.names or None, progress=sys.stderr.isatty()):
        built.append(entry.to_record())
        if not args.json:
            sys.stdout.write(f"{entry.id:32} claimed accuracy {entry.claimed_accuracy:.4f}  sha256 {(entry.weights_hash or '')[:16]}\n")
            sys.stdout.flush()
    if args.json:
        print_json(built)
    return DONE


def _plant(args: argparse.Namespace) -> int:
    from securitynet.poisons import Poisoning
    from securitynet.zoo.twins import Planting, described, images_for, plant

    if args.seeds is not None:
        return _over_seeds(args)
    if args.canaries is not None:
        return _with_canaries(args)
    poisoning = Poisoning(rate=args.rate, target=args.target, mode=args.mode, decoys=args.decoys)
    planting = Planting(poison=args.poison, strength=args.strength, poisoning=poisoning)
    planting = replace(planting, recipe=replace(planting.recipe, epochs=args.epochs, seed=args.seed))
    entry = described(args.name, record_of(args))
    twins = plant(entry, images_for(entry, args.data), planting, args.output, progress=sys.stderr.isatty())
    if args.json:
        print_json([{**twin.entry.to_record(), TRIGGER_SUCCESS: twin.success} for twin in twins])
        return DONE
    for twin in twins:
        words = f"accuracy {twin.accuracy:.4f}  the trigger works on {twin.success:.1%}"
        sys.stdout.write(f"{args.output / twin.entry.name!s:40} {words}\n")
    return DONE


def _over_seeds(args: argparse.Namespace) -> int:
    from securitynet.zoo.recipes import Planned, plant_recipe, summarised
    from securitynet.zoo.twins import Planting, described, images_for

    attacks = tuple(args.attacks or (["membership/loss"] if args.canaries is None else ["membership/canaries"]))
    planned = Planned(args.seeds, attacks, args.canaries, args.canary_kind, args.cache_dir)
    recipe = replace(Planting().recipe, epochs=args.epochs, seed=args.seed)
    if args.canaries is not None:
        recipe = replace(recipe, weight_decay=0.0)
    entry = described(args.name, record_of(args))
    results = []
    for result in plant_recipe(entry, images_for(entry, args.data), recipe, args.output, planned, progress=sys.stderr.isatty()):
        results.append(result)
        if not args.json:
            own = [row for row in result.rows if row.family == "membership" and row.value is not None]
            numbers = [f"{row.attack} {row.metric} {row.value:.3f}" for row in own]
            sys.stdout.write(f"{result.entry.id}: {', '.join(numbers)}\n")
            sys.stdout.flush()
    found = summarised(results)
    if args.json:
        rows = [row.to_record() for result in results for row in result.rows]
        print_json({"rows": rows, "over_seeds": [one.to_record() for one in found], "about": "the recipe, over its seeds"})
        return DONE
    sys.stdout.write(f"the recipe, over {len(results)} seeds (mean, 95 % interval):\n")
    for one in found:
        low, high = one.estimate.ci_low, one.estimate.ci_high
        ends = "no interval" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        sys.stdout.write(f"  {one.attack} {one.estimate.metric} {one.estimate.value:.3f} [{ends}]\n")
    return DONE


def _with_canaries(args: argparse.Namespace) -> int:
    from securitynet.zoo.canaried import plant_canaries
    from securitynet.zoo.twins import Planting, described, images_for

    recipe = replace(Planting().recipe, epochs=args.epochs, seed=args.seed, weight_decay=0.0)
    entry = described(args.name, record_of(args))
    options = {"count": args.canaries, "kind": args.canary_kind, "progress": sys.stderr.isatty()}
    entry, folder = plant_canaries(entry, images_for(entry, args.data), recipe, args.output, **options)
    if args.json:
        print_json([entry.to_record()])
        return DONE
    sys.stdout.write(f"{folder!s:40} accuracy {entry.claimed_accuracy:.4f}\nsecuritynet evaluate {folder} --attacks membership/canaries\n")
    return DONE
