"""Attacks with reference models, by how many of them: python benchmarks/references.py [--fashion FOLDER] [--references 16]

Without --fashion: builtin/digits-overfit, references of its own kind (--epochs 120, as it was trained, or fewer). With it, the
folder of Fashion-MNIST's IDX files: a LeNet trained on 5,000 images until it knows more than 99 % of them, against references
trained on 5,000 of the same 10,000. Prints AUC, true-positive rates at false-positive rates of 1 and 5 %, the 95 % interval of the
gain over the loss attack (paired.tpr_difference), and seconds. What was trained before is read from
--cache.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

import securitynet
from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership.loss import Loss
from securitynet.attacks.resolve import resolve
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.arrays import read_idx
from securitynet.data.digits import image_set
from securitynet.data.transform import Transform
from securitynet.errors import Skipped
from securitynet.metrics.membership import auc, tpr_at_fpr
from securitynet.metrics.paired import tpr_difference
from securitynet.references import ReferenceSettings, reference_answers
from securitynet.references.networks import blueprint, create
from securitynet.target import Target, build
from securitynet.training import Recipe, train

ATTACKS = [f"membership/{name}" for name in ("lira", "rmia", "log_ratio", "base", "student_t", "attack_r")]
DIGITS = Recipe(optimiser="adamw", learning_rate=0.01, weight_decay=0.0)
FASHION = Recipe(epochs=25, optimiser="adamw", learning_rate=4e-3, weight_decay=0.0)
LENET = "nets:ivrl_lenet", '{"width":4}'


def digits(epochs: int) -> tuple[Target, Splits, ReferenceSettings]:
    """The shipped model, its images, and settings that train as it was trained."""
    target = securitynet.load_model("builtin/digits-overfit")
    splits = draw(image_set(target.entry, target.folder), Transform.of(target.entry), 10, samples=None)
    return target, splits, ReferenceSettings(recipe=replace(DIGITS, epochs=epochs))


def fashion(folder: Path, accelerator: Accelerator) -> tuple[Target, Splits, ReferenceSettings]:
    """A network trained here on 5,000 of 10,000 images."""
    images = read_idx(folder)["train"]
    assert isinstance(images, ArrayImages)
    chosen = np.random.default_rng(0).permutation(len(images))[:10_000]
    pool = ArrayImages(images.pixels[chosen], images.labels[chosen])
    case = ImageSet("Fashion-MNIST", pool, pool, membership="index-file", members=np.arange(5_000))
    splits = draw(case, Transform((1, 28, 28)), 10, samples=None)
    entry = replace(blueprint(*LENET, (1, 28, 28), 10), id="benchmark/lenet")
    network = create(entry, 12345)
    assert splits.members is not None
    pixels, labels = splits.members.pixels(np.arange(5_000)), torch.from_numpy(splits.members.labels)
    history = train(network, pixels, labels, replace(FASHION, seed=12345), accelerator)
    write(f"target: accuracy {history.epochs[-1].accuracy:.4f} on its 5,000 images, {history.seconds:.0f} s\n")
    return build(entry, network[1]), splits, ReferenceSettings(architecture=LENET[0], architecture_args=LENET[1], recipe=FASHION)


def gain(evidence: MembershipEvidence, loss: MembershipEvidence, fpr: float) -> str:
    """95 % interval of the difference of true-positive rates, both attacks measured on the same samples."""
    found = tpr_difference((evidence.members, evidence.non_members), (loss.members, loss.non_members), fpr)
    return "-" if found.ci_low is None or found.ci_high is None else f"{found.ci_low:+.3f} to {found.ci_high:+.3f}"


def row(name: str, evidence: MembershipEvidence, loss: MembershipEvidence, fpr: float, seconds: float) -> None:
    numbers = [auc(evidence.members, evidence.non_members).value or 0.0]
    numbers += [tpr_at_fpr(evidence.members, evidence.non_members, rate).value or 0.0 for rate in (0.01, 0.05)]
    write(f"{name:26}{''.join(f'{number:8.3f}' for number in numbers)}   {gain(evidence, loss, fpr):>18}{seconds:8.2f}\n")


def compare(
    target: Target, splits: Splits, settings: ReferenceSettings, counts: Sequence[int], accelerator: Accelerator, fpr: float
) -> None:
    """Print the table."""
    start = time.perf_counter()
    most = replace(settings, count=max(counts))
    found = reference_answers(splits, most, accelerator, target.cache)
    right = (found.logits.argmax(axis=2) == found.labels).T
    seconds = time.perf_counter() - start
    write(f"{most.count} references in {seconds:.0f} s: accuracy {right[found.held].mean():.3f} on what they hold, ")
    write(f"{right[~found.held].mean():.3f} on the rest\n")
    write(f"{'attack, references':26}{'AUC':>8}{'TPR@1%':>8}{'TPR@5%':>8}   {f'gain at {100 * fpr:g} %':>18}{'seconds':>8}\n")
    loss = Loss()(target, splits, accelerator)
    row("loss", loss, loss, fpr, 0.0)
    for count in counts:
        some = replace(settings, count=count)
        for attack in resolve(ATTACKS):
            online = {True: " online", False: " offline"}.get(getattr(attack, "online", None), "")
            start = time.perf_counter()
            try:
                evidence = replace(attack, references=some)(target, splits, accelerator)  # type: ignore[type-var]
            except Skipped:
                continue
            row(f"{type(attack).__name__}{online}, {count}", evidence, loss, fpr, time.perf_counter() - start)


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--references", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    accelerator = Accelerator()
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= args.references]
    with tempfile.TemporaryDirectory() as temporary:
        target, splits, settings = fashion(args.fashion, accelerator) if args.fashion else digits(args.epochs)
        target = replace(target, cache=ArrayCache(args.cache or Path(temporary)))
        compare(target, splits, settings, counts, accelerator, 0.01 if args.fashion else 0.05)


if __name__ == "__main__":
    main()
