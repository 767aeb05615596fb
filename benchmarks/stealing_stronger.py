"""What augmentation and self-training add: python benchmarks/stealing_stronger.py --target RESNET20.th --data CIFAR.npz --cache DIR

For every seed (other queries, other initial weights) three surrogates in one job, on the same queries: by the recipe alone, with shift and
mirroring, and with self-training on the unqueried pool besides. Prints agreement with the target on the test images as it is measured,
then means and paired differences with Student's interval over seeds. A stopped run goes on (--cache).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing._thief import Thief
from securitynet.attacks.stealing.self_training import SelfTraining
from securitynet.cache import ArrayCache
from securitynet.data import draw
from securitynet.data.readers import image_set
from securitynet.data.transform import Transform
from securitynet.loaders import load_model
from securitynet.metrics.means import over_seeds
from securitynet.target import Target


def write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def surrogates(thief: Thief, seed: int, queries: int, unqueried: int) -> Iterator[tuple[str, Target]]:
    """The three surrogates of one seed, as they are trained."""
    order = thief.pool.order(seed)
    queried, rest = order[:queries], order[queries : queries + unqueried]
    outputs = thief.answer(queried)
    plain = replace(thief, settings=replace(thief.settings, augment=False), answered={})
    yield "recipe alone", plain.fit(queried, outputs, seed)
    yield "augmentation", thief.fit(queried, outputs, seed)
    yield "self-training", SelfTraining(unqueried=unqueried)._last(thief, queried, rest, outputs, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--unqueried", type=int, default=20_000)
    args = parser.parse_args()
    target = replace(load_model(args.target), cache=ArrayCache(args.cache and args.cache / "outputs"))
    splits = draw(image_set(target.entry, data=args.data), Transform.of(target.entry), target.num_classes)
    base = Settings(least_steps=args.steps, transfer=None)
    found: dict[str, list[float]] = {"recipe alone": [], "augmentation": [], "self-training": []}
    for seed in args.seeds:
        thief = Thief.of(target, splits, Accelerator(cpu=True), base)
        reference = thief.outputs(target).predictions
        for name, surrogate in surrogates(thief, seed, args.queries, args.unqueried):
            found[name].append(float((thief.outputs(surrogate).predictions == reference).mean()))
            write(f"seed {seed}  {name:14} agreement {found[name][-1]:.4f}")
    for name, values in found.items():
        write(f"{name}: mean {np.mean(values):.4f}")
        one = over_seeds("difference", np.asarray(values) - np.asarray(found["recipe alone"]))
        if name != "recipe alone" and one.ci_low is not None and one.ci_high is not None:
            write(f"  above the recipe alone, paired: {100 * one.value:+.1f} points [{100 * one.ci_low:+.1f}, {100 * one.ci_high:+.1f}]")


if __name__ == "__main__":
    main()
