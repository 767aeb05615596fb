"""Time and memory of all score attacks: OMP_NUM_THREADS=2 python benchmarks/membership.py [--samples 60000] [--classes 1000]

Each attack that is a function of the model's outputs, as evaluate() runs it, from outputs that are known: scores,
AUC with DeLong's interval, rates with exact ones, balanced accuracy, and the AUC of every class. Half of the samples are
members; the logits are synthetic. Prints seconds, and the peak of memory beyond the answers.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch
from accelerate import Accelerator

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership.tail import TailEvidence
from securitynet.attacks.protocols import Attack, params_of
from securitynet.attacks.resolve import name_of, resolve
from securitynet.cache import digest
from securitynet.data import ArrayImages, Split, Splits
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.memory import PeakMemory
from securitynet.metrics.membership import per_class_auc
from securitynet.target import Outputs, Target, build

SCORES = "correctness confidence loss entropy modified_entropy modified_entropy_per_class margin top_gap tail"


def answered(samples: int, classes: int) -> tuple[Target, Splits]:
    """Return a model whose answers about `samples` members and non-members are known, members' labels a little likelier."""
    rng = np.random.default_rng(0)
    entry = Entry(id="benchmark/known", num_classes=classes, input_size=(1, 1, 1))
    target, parts = build(entry, torch.nn.Flatten()), []
    for name, boost in (("members", 1.0), ("non_members", 0.0)):
        count = samples // 2
        labels = rng.integers(0, classes, count)
        logits = rng.standard_normal((count, classes), dtype=np.float32)
        logits *= 3
        logits[np.arange(count), labels] += 6 + boost
        pixels = rng.integers(0, 256, (count, 1, 1), dtype=np.uint8)
        parts.append(Split(name, ArrayImages(pixels, labels), np.arange(count), labels, Transform((1, 1, 1))))
        key = digest(target.fingerprint, parts[-1].digest, target.draw), labels.tobytes()
        target.split_outputs[key] = Outputs(logits, labels)
    return target, Splits("synthetic", None, 0, "official-split", classes, parts[0], parts[1], None, parts[1])


def attacked(attack: Attack, target: Target, splits: Splits, accelerator: Accelerator) -> tuple[float, float]:
    """Run one attack to its last number; return the seconds of scores and metrics, and those of the AUC per class."""
    start = time.perf_counter()
    evidence = attack(target, splits, accelerator)
    evidence.metrics()
    middle = time.perf_counter()
    scores = evidence.scores if isinstance(evidence, TailEvidence) else evidence
    assert isinstance(scores, MembershipEvidence) and scores.member_labels is not None and scores.non_member_labels is not None
    per_class_auc(scores.members, scores.non_members, scores.member_labels, scores.non_member_labels, splits.num_classes)
    return middle - start, time.perf_counter() - middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--classes", type=int, default=1_000)
    args = parser.parse_args()
    attacks = resolve([f"membership/{name}" for name in SCORES.split()])
    accelerator = Accelerator(cpu=True)
    target, splits = answered(args.samples, args.classes)
    with PeakMemory(accelerator.device) as before:
        start = time.perf_counter()
    with PeakMemory(accelerator.device) as memory:
        for attack in attacks:
            own, classes = attacked(attack, target, splits, accelerator)
            sys.stdout.write(f"{name_of(attack):40} {own:6.3f} s, per class {classes:6.3f} s  {params_of(attack)}\n")
    seconds, beyond = time.perf_counter() - start, ((memory.peak or 0) - (before.peak or 0)) / 2**20
    answers = args.samples * args.classes * 4 / 2**20
    sys.stdout.write(
        f"{len(attacks)} attacks on {args.samples} x {args.classes}: {seconds:.2f} s, "
        f"{beyond:.0f} MiB beyond the answers, which are {answers:.0f} MiB\n"
    )


if __name__ == "__main__":
    main()
