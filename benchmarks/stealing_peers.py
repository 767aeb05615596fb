"""Beside ART's KnockoffNets: python benchmarks/stealing_peers.py --target TINYVGG.pth --data FASHION-MNIST [--queries 2000]

The same target, images, untrained surrogate (a small residual network), number of epochs, batch size, peak learning rate and
momentum. ART's working mode is random images with hard labels; its other modes are
tried too, and what comes of them is printed. Agreement is on the whole test part. Seconds are of asking and training, wall and
processor; each side runs --turns times, turn about.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import nn

from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing._thief import Thief
from securitynet.cache import ArrayCache
from securitynet.data import draw
from securitynet.data.readers import image_set
from securitynet.data.transform import Transform
from securitynet.loaders import load_model
from securitynet.target import Target
from securitynet.training import Recipe

BATCH, RATE = 64, 0.02


@dataclass(frozen=True, eq=False)
class Found:
    """Predictions on the test part, seconds on the wall and of the processor."""

    predictions: NDArray[np.int64]
    wall: float
    processor: float


def write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def timed(work: Callable[[], Callable[[], NDArray[np.int64]]]) -> Found:
    """Time `work`, which returns how to predict; predicting is not timed."""
    wall, processor = time.perf_counter(), time.process_time()
    predict = work()
    spent = time.perf_counter() - wall, time.process_time() - processor
    return Found(predict(), *spent)


def fresh_thief(thief: Thief, answers: str) -> Thief:
    """The same thief, who knows nothing yet and keeps nothing."""
    target = replace(thief.target, cache=ArrayCache(None), split_outputs={})
    return replace(thief, target=target, settings=replace(thief.settings, answers=answers), answered={}, counted=[])


def ours(thief: Thief, positions: NDArray[np.int64], answers: str) -> Found:
    """Ask and train with the project's loop."""
    new = fresh_thief(thief, answers)

    def work() -> Callable[[], NDArray[np.int64]]:
        copy = new.fit(positions, new.answer(positions))
        return lambda: new.outputs(copy).predictions

    return timed(work)


def art(thief: Thief, positions: NDArray[np.int64], test: NDArray[np.float32], options: dict[str, object]) -> Found:
    """Ask and train with ART, the same untrained network."""
    from art.attacks.extraction import KnockoffNets

    images = thief.pool.pixels(positions).float().div(255).numpy()
    network = thief.fresh().module
    victim, stolen = _classifier(thief.target, thief.target.module), _classifier(thief.target, network)
    epochs = thief.settings.recipe.epochs
    attack = KnockoffNets(
        victim, batch_size_fit=BATCH, batch_size_query=BATCH, nb_epochs=epochs, nb_stolen=len(images), verbose=False, **options
    )
    labels = np.eye(thief.target.num_classes, dtype=np.float32)[thief.pool.split.labels[positions]]

    def work() -> Callable[[], NDArray[np.int64]]:
        copy = attack.extract(images, labels, thieved_classifier=stolen)
        return lambda: copy.predict(test, batch_size=256).argmax(axis=1)

    return timed(work)


def _classifier(target: Target, module: nn.Module) -> object:
    from art.estimators.classification import PyTorchClassifier

    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(trained, RATE, momentum=0.9) if trained else None
    shape = target.entry.input_size
    return PyTorchClassifier(module, nn.CrossEntropyLoss(), shape, target.num_classes, optimiser, clip_values=(0, 1), device_type="cpu")


def line(name: str, found: list[Found], reference: NDArray[np.int64], seen: int) -> None:
    agreement = statistics.mean(float((one.predictions == reference).mean()) for one in found)
    wall, processor = (statistics.median(values) for values in ([one.wall for one in found], [one.processor for one in found]))
    write(
        f"{name:44} agreement {agreement:.4f}   {1e6 * wall / seen:7.0f} us wall, {1e6 * processor / seen:6.0f} us processor per image seen"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    target = load_model(args.target)
    splits = draw(image_set(target.entry, data=args.data), Transform.of(target.entry), target.num_classes)
    recipe = Recipe(epochs=args.epochs, batch_size=BATCH, learning_rate=RATE, weight_decay=0.0, channels_last=True, temperature=2.0)
    settings = Settings(recipe=recipe, least_steps=0)
    thief = Thief.of(target, splits, Accelerator(cpu=True), settings)
    positions = thief.pool.order(0)[: args.queries]
    test = thief.test.pixels(np.arange(len(thief.test))).numpy()
    reference = thief.outputs(thief.target).predictions
    runs: list[tuple[str, Callable[[], Found]]] = [
        ("ART, random, labels (its working mode)", lambda: art(thief, positions, test, {"use_probability": False})),
        ("ours, random, labels", lambda: ours(thief, positions, "labels")),
        ("ours, random, probabilities", lambda: ours(thief, positions, "probabilities")),
    ]
    found: dict[str, list[Found]] = {name: [] for name, _ in runs}
    for _ in range(args.turns):
        for name, run in runs:
            found[name].append(run())
    for name, some in found.items():
        line(name, some, reference, args.queries * args.epochs)
    first, second = found[runs[0][0]], found[runs[1][0]]
    for what in ("wall", "processor"):
        ratio = statistics.median(getattr(b, what) / getattr(a, what) for a, b in zip(first, second, strict=True))
        write(f"time ours / ART, labels, {what}: {ratio:.2f} (median of {args.turns} pairs)")
    for name, options in (
        ("ART, random, probabilities", {"use_probability": True}),
        ("ART, adaptive", {"sampling_strategy": "adaptive", "reward": "all", "use_probability": True}),
    ):
        try:
            line(name, [art(thief, positions, test, options)], reference, args.queries * args.epochs)
        except (ValueError, IndexError) as error:
            write(f"{name}: {type(error).__name__}: {str(error)[:90]}")


if __name__ == "__main__":
    main()
