"""Attacks on splits that the model never saw: python benchmarks/no_leak.py [--seeds 40] [--attacks standard]

The non-members of builtin/digits-regular are split at random into pretended members and non-members: the same images in
every seed, so that `--attacks membership:full` trains its reference models once. Every attack's AUC is then 0.5 in truth.
Prints, per attack, in how many seeds its 95 % interval covers 0.5, and the mean AUC with its standard error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import numpy as np

import securitynet
from securitynet.data import ArrayImages, ImageSet
from securitynet.data.digits import digits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--attacks", nargs="+", default=["standard"])
    args = parser.parse_args()
    target = securitynet.load_model("builtin/digits-regular")
    pixels, labels = digits()
    from securitynet.data.digits import image_set

    members = image_set(target.entry, target.folder).members
    unseen = np.setdiff1d(np.arange(len(labels)), members)
    pool = ArrayImages(pixels[unseen], labels[unseen])
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as cache:
        for seed in range(args.seeds):
            pretended = np.sort(np.random.default_rng(seed).permutation(len(pool))[: len(pool) // 2])
            case = ImageSet("digits", pool, pool, membership="index-file", members=pretended)
            result = securitynet.evaluate(target, case, args.attacks, seed=seed, cache_dir=cache)
            for row in result.rows:
                if row.metric == "auc" and row.family == "membership" and row.value is not None:
                    found.setdefault((row.attack, row.params), []).append((row.value, row.ci_low or 0.0, row.ci_high or 1.0))
    for (attack, params), values in found.items():
        aucs = np.array([value for value, _, _ in values])
        covered = sum(low <= 0.5 <= high for _, low, high in values)
        error = aucs.std(ddof=1) / len(aucs) ** 0.5
        away = abs(aucs.mean() - 0.5) / error if error else 0.0
        sys.stdout.write(
            f"{attack:42} covers {covered}/{len(values)}  mean {aucs.mean():.4f} +- {error:.4f} ({away:.1f} errors off)  {params}\n"
        )


if __name__ == "__main__":
    main()
