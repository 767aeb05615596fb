"""Coverage of the interval of a model's place: models are drawn from a population in which the residual is known.

python benchmarks/audit_place.py [--models 20 47] [--trials 250]
"""

from __future__ import annotations

import argparse

import numpy as np

from securitynet.report.audit.place import interval, rank_residual

POPULATION, RESAMPLES = 2000, 200


def population(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return accuracy, overfitting level and AUC of n models, related as those of public models are, float64 [n, 3]."""
    gap = rng.gamma(2, 0.03, n)
    noise = 0.02 * rng.standard_normal((2, n))
    return np.column_stack([0.95 - 0.8 * gap + noise[0], gap, 0.5 + 0.6 * gap + noise[1]])


def main() -> None:
    """Print, for each number of models, how often the interval holds the population's residual."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[20, 47])
    parser.add_argument("--trials", type=int, default=250)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    everybody = population(rng, POPULATION)
    for n in args.models:
        held = 0
        for _ in range(args.trials):
            mine = population(rng, 1)[0]
            models = everybody[rng.choice(POPULATION, n, replace=False)]
            drawn = [rank_residual(models[rng.integers(n, size=n)], mine) for _ in range(RESAMPLES)]
            low, high = interval(drawn, n)
            held += low <= rank_residual(everybody, mine) <= high
        print(f"{n} models: {held} of {args.trials} intervals ({held / args.trials:.1%})")


if __name__ == "__main__":
    main()
