"""How often blind controls see a shift where there is none: seeded splits of one collection of images.

usage: controls.py FILE.npz ... [--splits 200] [--sizes 500 1000 2500]

Each FILE holds x_test and y_test (x_train and y_train are added where the sizes need them). Members and non-members are drawn
from all of them together, so every p-value below the level is a false alarm. One JSON line per file and size.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from securitynet.controls.blind import CLASSES, LABELS, by_labels, by_view
from securitynet.controls.views import VIEWS
from securitynet.metrics.exact import share_difference

LEVELS = (0.01, 0.05)


def false_alarms(images: np.ndarray, labels: np.ndarray, size: int, splits: int) -> dict[str, list[float]]:
    """Return the shares of p-values at or below each level, by control and for the smallest of all times their number."""
    pixels = (images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    views = {name: view(pixels) for name, view in VIEWS.items()}
    classes = int(labels.max()) + 1
    found: dict[str, list[float]] = {name: [] for name in (*views, CLASSES, LABELS)}
    for seed in range(splits):
        order = np.random.default_rng([seed, size]).permutation(len(labels))[: 2 * size]
        groups = order[:size], order[size:]
        for name, features in views.items():
            found[name].append(float(by_view(features[groups[0]], features[groups[1]], seed)[1].value or 0.0))
        counts = [np.bincount(labels[group], minlength=classes) for group in groups]
        found[CLASSES].append(share_difference(*counts, seed=seed))
        parts = [views["layout"][group] for group in groups]
        found[LABELS].append(float(by_labels(parts, [labels[group] for group in groups], classes, seed).value or 0.0))
    found["any"] = list(np.minimum(1, len(found) * np.min(list(found.values()), axis=0)))
    return {name: [round(float((np.asarray(ps) <= level).mean()), 4) for level in LEVELS] for name, ps in found.items()}


def main() -> None:
    """Print one JSON line per file and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2500])
    args = parser.parse_args()
    for path in args.files:
        with np.load(path) as stored:
            images, labels = stored["x_test"], stored["y_test"]
            if len(labels) < 2 * max(args.sizes) and "x_train" in stored:
                images, labels = np.concatenate([images, stored["x_train"]]), np.concatenate([labels, stored["y_train"]])
        for size in args.sizes:
            if 2 * size <= len(labels):
                rates = false_alarms(images, labels.reshape(-1).astype(np.int64), size, args.splits)
                sys.stdout.write(json.dumps({"file": path.stem, "size": size, "splits": args.splits, "levels": LEVELS, **rates}) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
