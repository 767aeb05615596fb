"""Correlations pooled over datasets, which are never findings: they are shown beside those within, with a warning where signs differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from securitynet.report.findings.hypotheses import Tested
from securitynet.report.findings.shared_terms import definition
from securitynet.report.findings.statistics import correlate, fisher_mean
from securitynet.report.measure_table import MeasureTable, titled

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Pooled:
    """One pair over all datasets of a purpose: pooled rho, the rhos within, their mean (Fisher's z, weights n - 3), and a warning."""

    origin: str
    purpose: str
    x: str
    y: str
    n: int
    datasets: tuple[str, ...]
    pooled: float
    within: tuple[float, ...]
    within_mean: float
    warning: str | None

    def to_record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def pooled(table: MeasureTable, tests: list[Tested]) -> list[Pooled]:
    """Return what pooling would say of each pair that was tested in two or more datasets."""
    grouped: dict[tuple[str, str, str, str], list[Tested]] = {}
    for one in tests:
        if one.numbers is not None and one.kind == "correlation":
            grouped.setdefault((one.origin, one.purpose, one.x, one.y), []).append(one)
    frame = table.without().frame
    return [_pooled(frame, key, members) for key, members in grouped.items() if len(members) > 1 and definition(key[2], key[3]) is None]


def _pooled(frame: pd.DataFrame, key: tuple[str, str, str, str], tests: list[Tested]) -> Pooled:
    origin, purpose, x, y = key
    datasets = tuple(one.dataset for one in tests)
    lines = frame[(frame["origin"] == origin) & (frame["purpose"] == purpose) & frame["dataset"].isin(datasets)]
    lines = lines[lines[x].notna() & lines[y].notna()]
    whole = correlate(lines[x].to_numpy(float), lines[y].to_numpy(float), resamples=0).spearman
    within = tuple(float(one.to_record()["spearman"]) for one in tests)
    mean = fisher_mean(within, [one.n - 3 for one in tests])
    opposite = sum(rho * whole < 0 for rho in within)
    warning = None
    if whole * mean < 0 and abs(mean) > 0.1 and 2 * opposite > len(within):
        trend = "rise" if whole > 0 else "fall"
        warning = (
            f"pooled over datasets, {titled(y)} seems to {trend} with {titled(x)} (rho {whole:.2f}), but within "
            f"{opposite} of {len(within)} datasets it does the opposite (mean rho {mean:.2f}): "
            "the pooled sign is a difference between datasets"
        )
    elif abs(whole) - abs(mean) > 0.3:
        warning = (
            f"pooled over datasets, {titled(y)} seems to follow {titled(x)} closely (rho {whole:.2f}), but within datasets hardly "
            f"(mean rho {mean:.2f}): most of it is a difference between datasets"
        )
    return Pooled(origin, purpose, x, y, len(lines), datasets, whole, within, mean, warning)
