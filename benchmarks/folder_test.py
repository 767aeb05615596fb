"""False alarms and power of membership/folder: python benchmarks/folder_test.py [--first 0] [--worlds 8] [--models 5] [--output FILE.jsonl]

Small networks on scikit-learn's digits. In each world 300 images are the folder, 300 others are known as unseen, and models are trained
on 700 of the rest: independent models of the same data, to which the answer is no. One more per world is trained on the folder and 400
of the rest: yes. Once the folder is drawn at random ("like"), once folder and unseen images are consecutive, so that other people wrote
them ("other writers"). Both forms of the test: reference networks (six), and Welch's. With --output, one JSON line per model; what stands
there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from securitynet.attacks.membership.folder import Folder
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.digits import digits
from securitynet.data.transform import Transform
from securitynet.metrics.intervals import clopper_pearson
from securitynet.references import ReferenceSettings
from securitynet.references.networks import blueprint, create
from securitynet.target import Target
from securitynet.training import Recipe, train

ARMS = ("like", "other writers")
FORMS = {"networks": 6, "Welch": 0}
FOLDER, UNSEEN, TRAINED, BESIDE = 300, 300, 700, 400
ARGUMENTS = '{"channels": [8, 16, 16, 16], "output_stride": 8, "stem_width": 8, "in_chans": 1}'
RECIPE = Recipe(epochs=25, optimiser="adamw", learning_rate=0.01, weight_decay=0.0)
SIZE = (1, 8, 8)


def world(arm: str, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the folder, of the unseen images, and of the rest."""
    rng = np.random.default_rng([ARMS.index(arm), number])
    total = len(digits()[1])
    order = rng.permutation(total) if arm == ARMS[0] else np.roll(np.arange(total), -int(rng.integers(total)))
    return order[:FOLDER], order[FOLDER : FOLDER + UNSEEN], order[FOLDER + UNSEEN :]


def trained_on(rows: np.ndarray, seed: int) -> Target:
    """A network trained on these digits."""
    pixels, labels = digits()
    record = blueprint("timm:resnet10t", ARGUMENTS, SIZE, 10)
    network = create(record, seed)
    images = torch.from_numpy(pixels[rows]).float().div(255)[:, None]
    train(network, images, torch.from_numpy(labels[rows].astype(np.int64)), replace(RECIPE, seed=seed), Accelerator(cpu=True))
    return Target(record, network.eval().requires_grad_(False), f"network {seed}", cache=ArrayCache(None))


def questions(arm: str, number: int) -> Splits:
    """The splits: the folder as the training part, membership unknown."""
    pixels, labels = digits()
    folder, unseen, _ = world(arm, number)
    parts = (ArrayImages(pixels[part], labels[part]) for part in (folder, unseen))
    return draw(ImageSet("digits", *parts, membership="unknown"), Transform(SIZE), 10, samples=None)


def measured(arm: str, number: int, models: int, cache: ArrayCache, known: set[tuple[str, int, int]]) -> Iterator[dict[str, object]]:
    """One record per model of a world; the last is trained on the folder."""
    splits, (folder, _, rest) = questions(arm, number), world(arm, number)
    for model in range(models + 1):
        if (arm, number, model) in known:
            continue
        rng, used = np.random.default_rng([7, number, model]), model == models
        rows = np.concatenate([folder, rng.choice(rest, BESIDE, replace=False)]) if used else rng.choice(rest, TRAINED, replace=False)
        target, start = replace(trained_on(rows, 1000 * number + model), cache=cache), time.perf_counter()
        settings = ReferenceSettings(
            count=FORMS["networks"], architecture="timm:resnet10t", architecture_args=ARGUMENTS, recipe=RECIPE, seed=number
        )
        found = {name: Folder(references=settings if count else 0)(target, splits, Accelerator(cpu=True)) for name, count in FORMS.items()}
        p = {name: one.gap.p for name, one in found.items()}
        yield {"arm": arm, "world": number, "model": model, "used": used, "p": p, "seconds": time.perf_counter() - start}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="world to begin with")
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(arguments)
    records = [json.loads(line) for line in args.output.read_text().splitlines()] if args.output and args.output.exists() else []
    known = {(one["arm"], one["world"], one["model"]) for one in records}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.first, args.worlds):
            for arm in ARMS:
                for one in measured(arm, number, args.models, ArrayCache(Path(folder)), known):
                    records.append(one)
                    if args.output:
                        with args.output.open("a") as file:
                            file.write(json.dumps(one) + "\n")
    for arm in ARMS:
        for used in (False, True):
            own = [one for one in records if one["arm"] == arm and one["used"] is used]
            for form in FORMS:
                flagged = sum(one["p"][form] < 0.05 for one in own)
                low, high = clopper_pearson(flagged, len(own))
                kind = "trained on it" if used else "independent"
                sys.stdout.write(f"{arm:15}{kind:15}{form:10}{flagged:3} of {len(own):3} flagged at 5 %  ({low:.1%} to {high:.1%})\n")


if __name__ == "__main__":
    main()
