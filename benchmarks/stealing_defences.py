"""Attack against defence, one table: python benchmarks/stealing_defences.py --target TINYVGG.pth --data FASHION-MNIST --cache DIR

For each defence: what it costs (accuracy, total variation from the undefended outputs), every response of the attacker with its
agreement on held-out queries (which chooses) and on the test images, with the defended outputs and with the undefended model, and the
surrogate of the chosen response trained on all queries, beside the control with true labels. A line is printed when it is measured;
with --cache a run that was stopped goes on. --steps lowers the training steps for a machine that is slow.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing._reading import HELD_OUT, _parted, _targets, read
from securitynet.attacks.stealing._thief import Thief
from securitynet.cache import ArrayCache
from securitynet.data import Splits, draw
from securitynet.data.readers import image_set
from securitynet.data.transform import Transform
from securitynet.inputs import defended
from securitynet.loaders import load_model
from securitynet.metrics.fidelity import distances
from securitynet.target import Target

DEFENCES = (
    "",
    "label-only",
    "temperature:8",
    "rounding:1",
    "top-k:3",
    "noise:0.5",
    "reverse-sigmoid:0.5:0.2",
    "misinformation:0.9",
    "modelguard:1",
)


def write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def against(name: str, target: Target, splits: Splits, queries: int, settings: Settings) -> None:
    """Print what one defence costs and what each response to it gets."""
    victim = replace(defended(target, name), cache=target.cache, split_outputs={}) if name else target
    thief = Thief.of(victim, splits, Accelerator(cpu=True), settings)
    positions = thief.pool.order(0)[:queries]
    plain, returned = thief.outputs(target), thief.outputs(victim)
    apart = distances(returned.log_probabilities, plain.log_probabilities)[1].mean()
    accuracy = (returned.predictions == returned.labels).mean()
    write(f"\n{name or 'no defence'}: accuracy {accuracy:.4f}, total variation {apart:.3f}")

    def scores(surrogate: Target) -> str:
        classes = thief.outputs(surrogate).predictions
        both = [(classes == one.predictions).mean() for one in (returned, plain)]
        return f"agreement {both[0]:.4f}, with the undefended {both[1]:.4f}, accuracy {(classes == plain.labels).mean():.4f}"

    learned, tried = read(thief, positions)
    _, rest = _parted(thief.seed, len(positions), HELD_OUT)
    outputs = thief.answer(positions).double().numpy()
    for one in tried if len(tried) > 1 else ():
        surrogate = thief.fit(positions[rest], _targets(thief, positions[rest], outputs[rest], one.response))
        write(f"  {one.response:12} held out {one.agreeing / one.n:.4f} | {len(rest):,} queries: {scores(surrogate)}")
    fitted = [thief.fit(positions, learned, repeat) for repeat in range(settings.repeats)]
    for surrogate in fitted:
        write(f"  chosen {tried[0].response}, {queries:,} queries: {scores(surrogate)}")
    if not name:
        write(f"  control, true labels: {scores(thief.fit(positions, thief.labels(positions)))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--defences", nargs="*", default=DEFENCES)
    args = parser.parse_args()
    target = replace(load_model(args.target), cache=ArrayCache(args.cache and args.cache / "outputs"))
    splits = draw(image_set(target.entry, data=args.data), Transform.of(target.entry), target.num_classes)
    settings = Settings(least_steps=args.steps, repeats=args.seeds, transfer=None, responses="all")
    for name in args.defences:
        against(name, target, splits, args.queries, replace(settings, responses="all" if name else "auto"))


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
