"""How much the numbers move with the seed: of the splits, of the half that the attacker knows, of learned attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from securitynet.metrics.vocabulary import QUERIES

if TYPE_CHECKING:
    from securitynet.results.result import Result


def spread(results: Sequence[Result]) -> pd.DataFrame:
    """Return one line per (attack, params, metric, budget, norm, epsilon) of several results of one model: seeds, mean, sd, min, max.

    `sd` has n - 1 degrees of freedom (NaN for one seed). Rows without a number do not count; their lines have fewer seeds.
    """
    rows = pd.concat([result.to_pandas() for result in results])
    rows = rows[rows["value"].notna() & (rows["metric"] != QUERIES)]
    grouped = rows.groupby(["attack", "params", "metric", "budget", "norm", "epsilon"], sort=False, dropna=False)["value"]
    return grouped.agg(seeds="count", mean="mean", sd="std", min="min", max="max").reset_index()
