"""How often a model without a leak gets a headline: python benchmarks/headline.py [--models 300] [--sizes 1000 1000] [--output FILE]

Each model is a table of random logits: what it returns for an image is drawn before anybody decides whether the image is a
member. Fifty sets of images and labels take turns, so that what does not depend on the model is measured once per set. Each
model goes through securitynet.evaluate() with the standard attacks and those named by --attacks, so that scores, fits, evidence
and summary are the real ones. Prints how many models were said to leak, by which test, the exact interval of that share, and how
many would have been by the largest of all AUCs. With --output, one JSON line per model; what stands there is not run again.
--distance gives members' labels a higher logit: a leak, to see what is found.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import securitynet
from securitynet.metrics.intervals import clopper_pearson

CLASSES = 10
SETS = 50  # of images and labels
STANDARD = ("standard",)


class Table(nn.Module):
    """Logits by the number that is written in an image's first two pixels."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.from_numpy(logits), requires_grad=False)
        self.num_classes = logits.shape[1]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        digits = (images.flatten(1)[:, :2] * 255).round().long()
        return self.logits[digits[:, 0] * 256 + digits[:, 1]]


@dataclass(frozen=True)
class Plan:
    """What every model of a run has in common."""

    members: int
    non_members: int
    attacks: tuple[str, ...]
    distance: float


def drawn(plan: Plan, seed: int) -> tuple[nn.Module, dict[str, np.ndarray]]:
    """Return a model and its images: the label's logit is larger by about two and a half, so that the model is often right."""
    fixed, rng, count = np.random.default_rng([seed % SETS, 1]), np.random.default_rng(seed), plan.members + plan.non_members
    labels = fixed.integers(0, CLASSES, count)
    logits = rng.standard_normal((count, CLASSES), dtype=np.float32) * 1.5
    logits[np.arange(count), labels] += 2.5 + rng.standard_normal(count) + plan.distance * (np.arange(count) < plan.members)
    numbers = fixed.permutation(65536)[:count]  # so that images say nothing about membership
    table = np.zeros((65536, CLASSES), np.float32)
    table[numbers] = logits
    pixels = np.zeros((count, 2, 2), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = numbers // 256, numbers % 256
    n = plan.members
    return Table(table), {"x_train": pixels[:n], "y_train": labels[:n], "x_test": pixels[n:], "y_test": labels[n:]}


def concluded(plan: Plan, seed: int, cache: str) -> dict[str, Any]:
    """Return what the summary concludes about one model, and what the largest AUC alone would have."""
    model, images = drawn(plan, seed)
    start = time.perf_counter()
    options: dict[str, Any] = {"preprocessing": {"input_size": [1, 2, 2]}, "cache_dir": cache, "seed": seed % SETS, "samples": None}
    result = securitynet.evaluate(model, images, list(plan.attacks), **options)
    summary = result.summary()
    areas = [row for row in result.rows if row.family == "membership" and row.metric == "auc" and row.value is not None]
    largest = max(areas, key=lambda row: row.value or 0.0)
    found = summary["headline"]
    return {
        "seed": seed,
        "word": found["word"],
        "by": [one["metric"] for one in (found["area"], *found["rates"]) if one["found"]],
        "attacks": found["attacks"],
        "said": summary["meaning"].startswith("The model leaks"),
        "control": summary["meaning"].startswith("No verdict"),
        "largest": bool((largest.ci_low or 0.0) > 0.5),
        "failed": sorted({row.attack for row in result.rows if row.status == "failed"}),
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=300)
    parser.add_argument("--sizes", type=int, nargs=2, default=(1000, 1000))
    parser.add_argument("--attacks", nargs="+", default=STANDARD)
    parser.add_argument("--distance", type=float, default=0.0)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    plan = Plan(*args.sizes, tuple(args.attacks), args.distance)
    lines = args.output.read_text().splitlines() if args.output and args.output.exists() else []
    found = [json.loads(one) for one in lines if one]
    with tempfile.TemporaryDirectory() as cache:
        for seed in sorted(set(range(args.models)) - {one["seed"] for one in found}):
            found.append(concluded(plan, seed, cache))
            if args.output:
                with args.output.open("a") as file:
                    file.write(json.dumps(found[-1]) + "\n")
    sys.stdout.write(report(found))


def report(found: list[dict[str, Any]]) -> str:
    n, words = len(found), [one["word"] for one in found if one["word"] is not None]
    low, high = clopper_pearson(len(words), n)
    tests = {name: sum(name in one["by"] for one in found) for name in sorted({name for one in found for name in one["by"]})}
    return (
        f"{len(words)} of {n} models have a headline: {len(words) / n:.2%}, 95 % interval {low:.2%} to {high:.2%}; by test {tests}; "
        f"by word { {word: words.count(word) for word in sorted(set(words))} }\n"
        f"said to leak: {sum(one['said'] for one in found)}; no verdict, as the control tells the split apart: "
        f"{sum(one['control'] for one in found)}\n"
        f"by the largest AUC alone: {sum(one['largest'] for one in found) / n:.2%}; attacks in a family: "
        f"{min(one['attacks'] for one in found)} to {max(one['attacks'] for one in found)}\n"
        f"attacks that failed: {sorted({name for one in found for name in one['failed']})}; "
        f"{np.mean([one['seconds'] for one in found]):.1f} s per model\n"
    )


if __name__ == "__main__":
    main()
