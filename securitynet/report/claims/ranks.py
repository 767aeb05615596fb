"""Rank correlations within groups of models that can be compared, and their mean over groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from securitynet.report.claims.claim import Claim, Outcome, Part
from securitynet.report.claims.data import Data
from securitynet.report.claims.estimates import Floats, Mask, Spread, clusters_of, jackknife
from securitynet.report.findings.hypotheses import untestable
from securitynet.report.findings.statistics import fisher_mean

if TYPE_CHECKING:
    import pandas as pd

GROUP = ["origin", "purpose", "dataset"]


def within(
    data: Data, claim: Claim, lines: pd.DataFrame, x: str, y: str, beside: Sequence[str] = (), covariate: str | None = None
) -> Outcome:
    """Return the outcome of a claim on Spearman's rho of y with x within groups; the mean over groups decides.

    `lines` are all models, `beside` the purposes that are shown but are not in the claim's population. With a covariate (a column) the
    correlation is partial. The mean is that of Fisher's z, weighted with n - 3 (less one for the covariate).
    """
    names = [x, y, *([covariate] if covariate else [])]
    known = lines[lines[names].notna().all(axis=1)]
    parts, kept = [], []
    for (_, purpose, dataset), own in known.groupby(GROUP, sort=True):
        name = f"{dataset}, {purpose}"
        if reason := untestable(own, x, y):
            parts.append(Part(name, inside=purpose not in beside, reason=reason))
            continue
        if purpose not in beside:
            kept.append(own)
        parts.append(_part(claim, name, own, names, purpose not in beside))
    if not kept:
        return Outcome(parts=tuple(parts), reason="no group of models has enough of both numbers: " + _reasons(parts))
    import pandas as pd

    whole = pd.concat(kept)
    try:
        spread, unit = correlation(whole, names)
    except ValueError as error:
        return Outcome(parts=tuple(parts), reason=str(error))
    inside = [one.name for one in parts if one.inside and one.estimate]
    name = f"mean over {len(kept)} groups" if len(kept) > 1 else inside[0]
    return Outcome(claim.part(name, spread, len(whole), unit), tuple(parts))


def _part(claim: Claim, name: str, own: pd.DataFrame, names: Sequence[str], inside: bool) -> Part:
    try:
        spread, unit = correlation(own, names)
    except ValueError as error:
        return Part(name, inside=inside, reason=str(error))
    return claim.part(name, spread, len(own), unit, inside)


def _reasons(parts: Sequence[Part]) -> str:
    return "; ".join(f"{one.name}: {one.reason}" for one in parts if one.inside and one.reason) or "no row has them"


def correlation(lines: pd.DataFrame, names: Sequence[str]) -> tuple[Spread, str]:
    """Return the mean within groups of the rank correlation of names[1] with names[0], given the others, and what its clusters are."""
    values = lines[list(names)].to_numpy(float)
    groups = lines.groupby(GROUP, sort=True).ngroup().to_numpy()
    labels, unit = clusters_of(lines)
    return jackknife(lambda mask: _fisher(values, groups, mask), labels, fisher=True), unit


def _fisher(values: Floats, groups: np.ndarray, mask: Mask) -> float:
    """Return Fisher's z of the mean correlation of the lines in a mask; groups of fewer than five lines drop out."""
    rhos, weights = [], []
    for group in np.unique(groups):
        own = values[mask & (groups == group)]
        if len(own) < 5:
            continue
        rho = rank_correlation(own)
        if np.isfinite(rho):
            rhos.append(rho)
            weights.append(len(own) - 1 - own.shape[1])
    return float(np.arctanh(fisher_mean(rhos, weights))) if rhos else float("nan")


def rank_correlation(values: Floats) -> float:
    """Return Spearman's rho of the first two columns [n, 2 or 3], partial where there is a third; NaN where one is constant."""
    ranks = stats.rankdata(values, axis=0)
    if np.ptp(ranks, axis=0).min() == 0:
        return float("nan")
    r = np.corrcoef(ranks, rowvar=False)
    if r.shape[0] == 2:
        return float(r[0, 1])
    return float((r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2)))
