"""Effects of a model's metadata, with the model type as a random effect; comparisons of groups and of variants of an attack."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from securitynet.report.findings.hypotheses import FEWEST, FINDING, UNTESTED, Tested, judged, outcomes, probability
from securitynet.report.findings.shared_terms import definition
from securitynet.report.findings.statistics import mean_interval, random_intercept
from securitynet.report.measure_table import GAP, TEST, MeasureTable, parts_of, titled

if TYPE_CHECKING:
    import pandas as pd

    from securitynet.entry import Entry

FEWEST_TYPES = 6
COLUMNS: dict[str, Callable[[Entry], float | None]] = {
    "year": lambda entry: entry.year,
    "number of authors": lambda entry: entry.num_authors,
    "log10 of parameters": lambda entry: math.log10(entry.params) if entry.params else None,
    "log10 of multiply-accumulates": lambda entry: math.log10(entry.macs) if entry.macs else None,
    "author in USA": lambda entry: None if entry.countries is None else float("USA" in entry.countries),
    "author in China": lambda entry: None if entry.countries is None else float("China" in entry.countries),
    "arXiv only": lambda entry: None if entry.venue_type is None else float(entry.venue_type == "arXiv"),
    "robust training": lambda entry: None if entry.threat_model is None else float(entry.threat_model != "none"),
}


def metadata_of(table: MeasureTable) -> pd.DataFrame:
    """Return the metadata that are tested, one line per line of the table, NaN where the record has none."""
    import pandas as pd

    entries = [table.entries.get(id) for id in table.frame["entry"]]
    columns = {
        name: [math.nan if one is None or (value := read(one)) is None else value for one in entries] for name, read in COLUMNS.items()
    }
    return pd.DataFrame(columns, index=table.frame.index, dtype=float)


def metadata_effects(table: MeasureTable, metadata: pd.DataFrame | None = None) -> list[Tested]:
    """Return one test per group, metadata column and measure; `metadata` has one line per line of the table's frame.

    Values of x and y are standardised, so an effect is in standard deviations per standard deviation.
    """
    facts = metadata_of(table) if metadata is None else metadata
    found = []
    for key, lines in table.without().groups():
        for y in outcomes(table):
            if definition(GAP, y) is None:
                found += [one for x in facts if (one := _effect(key, lines, facts.loc[lines.index, x], y)) is not None]
    return judged(found)


def _effect(key: tuple[str, str, str], lines: pd.DataFrame, values: pd.Series, y: str) -> Tested | None:
    both = lines[y].notna() & values.notna()
    lines, x = lines[both], values[both].to_numpy(float)
    if lines.empty or np.ptp(x) == 0 or _lopsided(x):
        return None
    types = lines["model_type"].nunique()
    base = Tested("metadata", *key, str(values.name), y, len(lines), types, UNTESTED, "")
    if types < FEWEST_TYPES or len(lines) < FEWEST:
        reason = f"{types} model types and {len(lines)} models are too few, {FEWEST_TYPES} and {FEWEST} are needed"
        return replace(base, reason=reason, sentence=f"{titled(y)} by {values.name} on {lines['dataset'].iloc[0]}: not tested ({reason})")
    outcome, groups = lines[y].to_numpy(float), lines["model_type"].astype("category").cat.codes.to_numpy(np.int64)
    if np.ptp(outcome) == 0:
        return None
    effect = random_intercept(_standard(outcome), _standard(x), groups)
    words = (
        f"{titled(y)} {'rises' if effect.coefficient > 0 else 'falls'} with {values.name} on {key[2]}, {key[1]} models "
        f"({effect.coefficient:+.2f} sd per sd, 95 % CI {effect.low:.2f} to {effect.high:.2f}, n {effect.n}, {types} model types, "
        f"p {probability(effect.p)})"
    )
    return replace(base, numbers=effect, p=effect.p, sentence=words)


def _lopsided(x: np.ndarray) -> bool:
    """Say whether x only tells a handful of models from the rest."""
    values, counts = np.unique(x, return_counts=True)
    return len(values) == 2 and bool(counts.min() < FEWEST // 2)


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def security_effects(table: MeasureTable) -> list[Tested]:
    """Return, per dataset and membership measure, security against benchmark models at equal overfitting.

    The difference is the coefficient of `security` beside the overfitting level, with the model type as random effect, over the
    levels that both kinds of models have.
    """
    found = []
    if GAP not in table.measures:
        return []
    for (origin, dataset), lines in table.without().frame.groupby(["origin", "dataset"], sort=True):
        lines = lines[lines["purpose"].isin(["benchmark", "security"])]
        for y in outcomes(table):
            if y.startswith("membership/") and definition(GAP, y) is None:
                found += _security(str(origin), str(dataset), lines[lines[y].notna() & lines[GAP].notna()], y)
    return judged(found)


def _security(origin: str, dataset: str, lines: pd.DataFrame, y: str) -> list[Tested]:
    security = (lines["purpose"] == "security").to_numpy()
    gap = lines[GAP].to_numpy(float)
    if security.all() or not security.any():
        return []
    low, high = (pick(edge(gap[security]), edge(gap[~security])) for pick, edge in ((max, np.min), (min, np.max)))
    kept = (gap >= low) & (gap <= high)
    lines, security, gap = lines[kept], security[kept], gap[kept]
    base = Tested(
        "security", origin, "security - benchmark", dataset, "security", y, len(lines), lines["model_type"].nunique(), UNTESTED, ""
    )
    if min(security.sum(), (~security).sum()) < FEWEST // 2:
        reason = f"fewer than {FEWEST // 2} models of each kind at equal overfitting"
        return [replace(base, reason=reason, sentence=f"{titled(y)} of security and benchmark models on {dataset}: not tested ({reason})")]
    groups = lines["model_type"].astype("category").cat.codes.to_numpy(np.int64)
    try:
        effect = random_intercept(lines[y].to_numpy(float), security.astype(float), groups, gap[:, None])
    except ValueError as error:
        return [replace(base, reason=str(error), sentence=f"{titled(y)} on {dataset}: not tested ({error})")]
    words = (
        f"at equal overfitting ({low:.3f} to {high:.3f}), security models have {'higher' if effect.coefficient > 0 else 'lower'} "
        f"{titled(y)} than benchmark models on {dataset} ({effect.coefficient:+.4f}, 95 % CI {effect.low:.4f} to {effect.high:.4f}, "
        f"{int(security.sum())} and {int((~security).sum())} models, p {probability(effect.p)})"
    )
    return [replace(base, numbers=effect, p=effect.p, sentence=words)]


def variant_effects(table: MeasureTable) -> list[Tested]:
    """Return, per group, how each other setting of an attack differs from its base setting on the same models (Wilcoxon's test)."""
    pairs = [(base, other) for base in outcomes(table) if parts_of(base)[1].get("preset") == "base" for other in _siblings(table, base)]
    found = [_variant(key, lines, base, other) for key, lines in table.without().groups() for base, other in pairs]
    return judged([one for one in found if one is not None])


def _siblings(table: MeasureTable, base: str) -> list[str]:
    attack, params, metric = parts_of(base)
    return [name for name in outcomes(table) if name != base and parts_of(name)[0::2] == (attack, metric) and parts_of(name)[1] != params]


def _variant(key: tuple[str, str, str], lines: pd.DataFrame, base: str, other: str) -> Tested | None:
    from scipy import stats

    both = lines[lines[base].notna() & lines[other].notna()]
    differences = (both[other] - both[base]).to_numpy(float)
    if len(both) < FEWEST or not differences.any():
        return None
    low, high = mean_interval(differences)
    p = float(stats.wilcoxon(differences).pvalue)
    higher = int((differences > 0).sum())
    numbers = {"difference": float(differences.mean()), "low": low, "high": high, "higher": higher}
    words = (
        f"{titled(other)} is {'higher' if numbers['difference'] > 0 else 'lower'} than {titled(base)} on {key[2]}, {key[1]} models "
        f"({numbers['difference']:+.3f}, 95 % CI {low:.3f} to {high:.3f}, higher for {higher} of {len(both)}, p {probability(p)})"
    )
    return Tested("variants", *key, base, other, len(both), both["model_type"].nunique(), FINDING, words, None, p, numbers=numbers)


def equal_overfitting(table: MeasureTable, edges: tuple[float, ...]) -> list[dict[str, object]]:
    """Return mean and count of each membership measure of security and benchmark models, per dataset and bin of overfitting."""
    lines = table.without().frame
    found: list[dict[str, object]] = []
    if GAP not in table.measures:
        return found
    for (origin, dataset), own in lines.groupby(["origin", "dataset"], sort=True):
        if not {"benchmark", "security"} <= set(own["purpose"]):
            continue
        for y in (name for name in outcomes(table) if name.startswith("membership/") and TEST in own):
            for low, high in itertools.pairwise(edges):
                inside = own[own[y].notna() & (own[GAP] >= low) & (own[GAP] < high)]
                kinds = {kind: inside[inside["purpose"] == kind][y] for kind in ("security", "benchmark")}
                means = {kind: {"n": len(values), "mean": float(values.mean()) if len(values) else None} for kind, values in kinds.items()}
                if len(inside):
                    found.append({"origin": origin, "dataset": dataset, "y": y, "low": low, "high": high, **means})
    return found
