"""Coverage of the intervals of `securitynet paper` at the sizes of the released table, with models that are related.

Each number of the release is replaced by a random one: a part that the models of a type share, on every dataset, and a part of each model's
own. The true value is that of very many model types. Printed: how often the 95 % interval holds it.

    python benchmarks/paper_intervals.py --draws 400
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from securitynet.report.claims.data import PUBLIC, Data
from securitynet.report.claims.paired import contrast, mean_over_datasets
from securitynet.report.claims.ranks import correlation
from securitynet.report.findings.released_tables import COLUMNS, ORIGIN
from securitynet.report.measure_table import GAP, TEST, published_rows

Values = np.ndarray
SHARED = 0.5  # of the variance, between model types
MANY = 4000


def correlated(types: Values, rho: float, rng: np.random.Generator) -> tuple[Values, Values]:
    """Return x and y, correlated by rho both between and within types; within a type, the correlation varies too."""
    count = int(types.max()) + 1
    between, own = rng.normal(size=(2, count)), rng.normal(size=(2, len(types)))
    slope = np.clip(rho + 0.1 * rng.normal(size=count), -0.99, 0.99)[types]
    first, second = (np.sqrt(SHARED) * between[side][types] + np.sqrt(1 - SHARED) * own[side] for side in (0, 1))
    return first, slope * first + np.sqrt(1 - slope**2) * second


def cases(data: Data) -> dict[str, pd.DataFrame]:
    """Return the populations of the claims on correlations."""
    steal, entropy = COLUMNS["Model Stealing Accuracy"], COLUMNS["M_entropy AUC"]
    public = data.lines(*PUBLIC)
    stolen, leaky = public[public[steal].notna()], data.lines()[data.lines()[entropy].notna() & data.lines()[GAP].notna()]
    sets = {f"{name}, {len(own)} models": own for name, own in stolen.groupby("dataset") if name in ("CIFAR-10", "ImageNet-1k")}
    security = data.lines("security")
    return {
        "stealing, five datasets": stolen,
        **sets,
        "membership, six groups": leaky[leaky["dataset"] != "SVHN"],
        "stealing, security": security[security[steal].notna()],
    }


def held(draws: int, make: Callable[[np.random.Generator], tuple[float, float]], truth: float) -> float:
    """Return how often the interval of a draw holds the truth."""
    rng = np.random.default_rng(0)
    found = [make(rng) for _ in range(draws)]
    return float(np.mean([low <= truth <= high for low, high in found]))


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def of_types(lines: pd.DataFrame) -> Values:
    """Return what the models share: their type, and of the models of one source without types enough, the folder of their recipe."""
    from securitynet.report.claims.estimates import clusters_of

    return pd.Categorical(clusters_of(lines)[0]).codes.astype(int)


def main() -> None:
    """Print one line per population and true value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=400)
    draws = parser.parse_args().draws
    data = Data.of(published_rows(ORIGIN))
    for name, lines in cases(data).items():
        types = of_types(lines)
        for rho in (0.0, -0.6, -0.9):
            many = [correlated(np.repeat(np.arange(MANY), 5), rho, np.random.default_rng(seed)) for seed in range(10)]
            truth = float(np.mean([stats.spearmanr(x, y).statistic for x, y in many]))

            def make(rng: np.random.Generator, lines: pd.DataFrame = lines, types: Values = types, rho: float = rho) -> tuple[float, float]:
                x, y = correlated(types, rho, rng)
                return correlation(lines.assign(x=x, y=y), ["x", "y"])[0].interval()

            say(f"{name}: rho {truth:+.2f} {held(draws, make, truth):.3f}")
        if "five" in name or "CIFAR" in name:

            def mean(rng: np.random.Generator, lines: pd.DataFrame = lines, types: Values = types) -> tuple[float, float]:
                values = np.sqrt(SHARED) * rng.normal(size=types.max() + 1)[types] + np.sqrt(1 - SHARED) * rng.normal(size=len(types))
                return mean_over_datasets(lines.assign(x=values), "x")[0].interval()

            say(f"{name}: mean {held(draws, mean, 0.0):.3f}")
    for dataset in ("CIFAR-10", "ImageNet-1k"):
        lines = data.lines(*PUBLIC, "security")
        lines = lines[(lines["dataset"] == dataset) & lines[[GAP, TEST]].notna().all(axis=1)]
        flag = (lines["purpose"] == "security").to_numpy()
        kinds = np.where(flag, lines["entry"].str.rsplit("/", n=2).str[0] + lines["model_type"], lines["model_type"])
        shared = pd.Categorical(kinds).codes.astype(int)

        def difference(
            rng: np.random.Generator, lines: pd.DataFrame = lines, shared: Values = shared, flag: Values = flag
        ) -> tuple[float, float]:
            values = np.sqrt(SHARED) * rng.normal(size=shared.max() + 1)[shared] + np.sqrt(1 - SHARED) * rng.normal(size=len(shared))
            return contrast(lines.assign(y=values), "y", flag.tolist(), GAP)[0].interval()

        say(f"security against benchmark, {dataset}: difference {held(draws, difference, 0.0):.3f}")


if __name__ == "__main__":
    main()
