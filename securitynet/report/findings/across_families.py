"""Relations across families: do robust models leak more, are they harder to steal, do backdoor detectors mistake them?

Every test is within one dataset, over the models that have both numbers, whoever measured them: y on x with the target accuracy and the
year as covariates and the architecture (model type) as a random effect. All are standardised, and all p-values corrected together.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.vocabulary import VOCABULARY
from securitynet.report.findings.hypotheses import DEFINITION, FEWEST, UNTESTED, Tested, judged, outcomes, probability
from securitynet.report.findings.shared_terms import definition, exact
from securitynet.report.findings.statistics import random_intercept
from securitynet.report.measure_table import GAP, TEST, TRAIN, MeasureTable, parts_of, titled

if TYPE_CHECKING:
    import pandas as pd

KIND = "families"
ROBUST = "robust training"  # 1 where the entry states a threat model, 0 where it says that there is none
FAMILIES = ("evasion", "membership", "stealing", "backdoor")  # a relation is stated as the later by the earlier


def across_families(table: MeasureTable) -> list[Tested]:
    """Return one test per dataset and pair of outcomes of different families, and of robust against standard training."""
    families = {name: family for name in outcomes(table) if (family := _family(name)) in FAMILIES and definition(GAP, name) is None}
    frame = table.without().frame
    found = []
    for dataset, lines in frame.groupby("dataset", sort=True):
        models = _models(lines, table, list(families))
        kinds = {ROBUST: "evasion"} | {name: families[name] for name in models if name in families}
        pairs = itertools.permutations(kinds, 2)
        found += [
            one for x, y in pairs if FAMILIES.index(kinds[x]) < FAMILIES.index(kinds[y]) and (one := _relation(str(dataset), models, x, y))
        ]
    return judged(found)


def _family(measure: str) -> str | None:
    record = VOCABULARY.get(parts_of(measure)[2])
    return None if record is None else record.family


def _models(lines: pd.DataFrame, table: MeasureTable, measures: list[str]) -> pd.DataFrame:
    """One line per model: its numbers whoever measured them, and what is known of it."""
    columns = ["model_type", *(name for name in (TRAIN, TEST, GAP, *measures) if name in lines)]
    models = lines.groupby("entry", sort=True)[columns].first()
    entries = [table.entries.get(str(id)) for id in models.index]
    models["year"] = [float("nan") if one is None or one.year is None else float(one.year) for one in entries]
    models[ROBUST] = [float("nan") if one is None or one.threat_model is None else float(one.threat_model != "none") for one in entries]
    claimed = [float("nan") if one is None or one.claimed_accuracy is None else one.claimed_accuracy for one in entries]
    measured = models[TEST].to_numpy(float) if TEST in models else np.full(len(models), np.nan)
    models["accuracy"] = np.where(np.isnan(measured), claimed, measured)
    return models


def _relation(dataset: str, models: pd.DataFrame, x: str, y: str) -> Tested | None:
    """The effect of x on y beside accuracy and year; None where no model has both."""
    both = models[models[x].notna() & models[y].notna() & models["accuracy"].notna()]
    if both.empty:
        return None
    types = both["model_type"].nunique()
    base = Tested(KIND, "all", "all", dataset, x, y, len(both), types, UNTESTED, "")
    named = f"{titled(y)} by {_named(x)} on {dataset}, across families"
    if reason := _untestable(both, x, y):
        return replace(base, reason=reason, sentence=f"{named}: not tested ({reason})")
    own = [name for name in (TRAIN, TEST, GAP) if name in both and both[name].notna().all()]
    numbers = [both[names].to_numpy(float) for names in (x, y, own)]
    if reason := exact(numbers[0], numbers[1], numbers[2]) or exact(numbers[1], numbers[0], numbers[2]):
        return replace(base, verdict=DEFINITION, reason=reason, sentence=f"{named}: {DEFINITION} ({reason})")
    year = both["year"].fillna(both["year"].median())
    covariates = np.column_stack([_standard(one) for one in (both["accuracy"], year) if one.nunique() > 1] or [np.empty((len(both), 0))])
    groups = both["model_type"].astype("category").cat.codes.to_numpy(np.int64)
    try:
        effect = random_intercept(_standard(both[y]), _standard(both[x]), groups, covariates)
    except ValueError as error:
        return replace(base, reason=str(error), sentence=f"{named}: not tested ({error})")
    words = (
        f"{titled(y)} {'rises' if effect.coefficient > 0 else 'falls'} with {_named(x)} on {dataset} at equal accuracy and year "
        f"({effect.coefficient:+.2f} sd per sd, 95 % CI {effect.low:.2f} to {effect.high:.2f}, n {effect.n}, {types} model types, "
        f"p {probability(effect.p)})"
    )
    return replace(base, numbers=effect, p=effect.p, sentence=words)


def _untestable(both: pd.DataFrame, x: str, y: str) -> str | None:
    if len(both) < FEWEST:
        return f"{len(both)} models have both numbers, {FEWEST} are needed"
    if x == ROBUST and min(counts := [int((both[x] == one).sum()) for one in (0.0, 1.0)]) < FEWEST // 2:
        return f"{counts[1]} robust and {counts[0]} standard models, {FEWEST // 2} of each are needed"
    if both[y].nunique() < 3 or both[x].nunique() < (2 if x == ROBUST else 3):
        return "fewer than three different values"
    return None


def _named(x: str) -> str:
    return x if x == ROBUST else titled(x)


def _standard(values: pd.Series) -> NDArray[np.float64]:
    numbers = values.to_numpy(float)
    return np.asarray((numbers - numbers.mean()) / numbers.std())
