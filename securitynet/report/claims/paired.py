"""Differences between two numbers of the same models, and differences between two kinds of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from securitynet.report.claims.claim import Claim, Outcome, Part
from securitynet.report.claims.estimates import Floats, Mask, Spread, clusters_of, jackknife
from securitynet.report.findings.hypotheses import FEWEST

if TYPE_CHECKING:
    import pandas as pd

FEWEST_OF_A_KIND = FEWEST // 2


def differences(claim: Claim, lines: pd.DataFrame, column: str) -> Outcome:
    """Return the outcome of a claim on the mean of `column`, a difference per model: per dataset, and the mean over datasets.

    Datasets count alike, so that the mean over them is of no one dataset only; of several origins each dataset counts once per origin.
    Fewer than ten models of a dataset are left out.
    """
    known = lines[lines[column].notna()]
    parts, kept = [], []
    for (origin, dataset), own in known.groupby(["origin", "dataset"], sort=True):
        name = str(dataset) if known["origin"].nunique() == 1 else f"{dataset}, {origin}"
        if len(own) < FEWEST:
            parts.append(Part(name, reason=f"{len(own)} models are too few, {FEWEST} are needed"))
        else:
            kept.append(own)
            parts.append(claim.part(name, *mean_over_datasets(own, column)))
    if not kept:
        return Outcome(parts=tuple(parts), reason="no dataset has ten models with both numbers")
    import pandas as pd

    name = f"mean over {len(kept)} datasets" if len(kept) > 1 else next(one.name for one in parts if one.estimate)
    return Outcome(claim.part(name, *mean_over_datasets(pd.concat(kept), column)), tuple(parts))


def mean_over_datasets(lines: pd.DataFrame, column: str) -> tuple[Spread, int, str]:
    """Return the spread of the mean over datasets of the mean of a column, how many models it is of, and what its clusters are."""
    values, groups = lines[column].to_numpy(float), lines.groupby(["origin", "dataset"], sort=True).ngroup().to_numpy()
    names = sorted(set(groups))
    labels, unit = clusters_of(lines)

    def mean(mask: Mask) -> float:
        held = [values[mask & (groups == name)] for name in names]
        return float(np.mean([one.mean() for one in held if len(one)])) if any(len(one) for one in held) else float("nan")

    return jackknife(mean, labels, weights=1 / np.bincount(groups)[groups]), len(lines), unit


def contrast(lines: pd.DataFrame, y: str, treated: Sequence[bool], covariate: str | None = None) -> tuple[Spread, int, str]:
    """Return how much higher y is for the treated lines than for the others, at an equal covariate (least squares).

    Raises ValueError where a cluster cannot be left out.
    """
    flag = np.asarray(treated, dtype=bool)
    outcome = lines[y].to_numpy(float)
    columns = [np.ones(len(lines)), flag.astype(float)] + ([lines[covariate].to_numpy(float)] if covariate else [])
    design: Floats = np.column_stack(columns)
    arms = [str(one) for one in flag]
    labels, unit = clusters_of(lines, arms)

    def coefficient(mask: Mask) -> float:
        if not 0 < flag[mask].sum() < mask.sum():
            return float("nan")
        beta, *_ = np.linalg.lstsq(design[mask], outcome[mask], rcond=None)
        return float(beta[1])

    return jackknife(coefficient, labels, arms), len(lines), unit
