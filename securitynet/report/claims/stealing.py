"""What the study says of model stealing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from securitynet.metrics.vocabulary import ACCURACY, AGREEMENT
from securitynet.report.claims.claim import READERS, STUDY, Claim, Outcome, Part, some
from securitynet.report.claims.data import PUBLIC, Data
from securitynet.report.claims.estimates import Estimate
from securitynet.report.claims.paired import differences, mean_over_datasets
from securitynet.report.claims.ranks import within
from securitynet.report.findings.hypotheses import FEWEST
from securitynet.report.measure_table import TEST, measure_of

if TYPE_CHECKING:
    import pandas as pd

BIRDS, MODERN, HALF = "CUB-200-2011", 2018, 0.5
NOTHING = "no row holds the accuracy of a copy (stealing, preset {}) beside the target's"
UNKNOWN = "surrogate, number of queries and training of the study's copies were never published"


def _birds(data: Data, claim: Claim) -> Outcome:
    measure = data.stealing(ACCURACY)
    pairs = _pairs(data, [name for name in (measure, data.stealing(AGREEMENT), TEST) if name]) if measure else None
    if measure is None or pairs is None or len(pairs) < FEWEST:
        reason = (
            NOTHING.format("base") if measure is None else f"{0 if pairs is None else len(pairs)} architectures were stolen both on {BIRDS}"
        )
        return Outcome(reason=reason if measure is None else f"{reason} and on another dataset, {FEWEST} are needed")
    try:
        whole = claim.part("stealing accuracy", *mean_over_datasets(pairs, measure))
        parts = [whole]
        names = {data.stealing(AGREEMENT) or "": "stealing agreement", TEST: "target accuracy", "relative": "stealing / target accuracy"}
        parts += [
            claim.part(name, *mean_over_datasets(known, key), inside=False)
            for key, name in names.items()
            if key in pairs and len(known := pairs[pairs[key].notna()]) >= FEWEST
        ]
    except ValueError as error:
        return Outcome(reason=str(error))
    others, types = sorted(set(pairs["others"])), sorted(set(pairs["model_type"]))
    limit = f"the other dataset is {', '.join(others)} only, the architectures are of the types {', '.join(types)}"
    return Outcome(whole, tuple(parts), (limit,))


def _pairs(data: Data, measures: list[str]) -> pd.DataFrame | None:
    """Return one line per architecture on CUB-200-2011: its measures there minus their means elsewhere."""
    import pandas as pd

    lines = data.lines(*PUBLIC)
    lines = lines.assign(architecture=[data.architecture(id) for id in lines["entry"]], relative=lines[measures[0]] / lines[TEST])
    lines = lines[lines[measures[0]].notna() & lines["architecture"].notna()]
    columns, found = [*measures, "relative"], []
    for (origin, architecture), own in lines.groupby(["origin", "architecture"], sort=True):
        here, there = own[own["dataset"] == BIRDS], own[own["dataset"] != BIRDS]
        if len(here) and len(there):
            change = here[columns].mean() - there.groupby("dataset")[columns].mean().mean()
            facts = {
                "origin": origin,
                "entry": architecture,
                "model_type": here["model_type"].iloc[0],
                "others": ", ".join(sorted(set(there["dataset"]))),
            }
            found.append({**facts, "dataset": BIRDS, **change.to_dict()})
    return pd.DataFrame(found) if found else None


def _by_accuracy(data: Data, claim: Claim) -> Outcome:
    measure = data.stealing(ACCURACY)
    if measure is None or TEST not in data.table.measures:
        return Outcome(reason=NOTHING.format("base"))
    return within(data, claim, data.lines(*PUBLIC, "security", "other"), TEST, measure, beside=("security", "other"))


def _of_security(data: Data, claim: Claim) -> Outcome:
    measure = data.stealing(ACCURACY)
    if measure is None or TEST not in data.table.measures:
        return Outcome(reason=NOTHING.format("base"))
    return within(data, claim, data.lines("security"), TEST, measure)


def _modern(data: Data, claim: Claim) -> Outcome:
    measure = data.stealing(ACCURACY)
    if measure is None or TEST not in data.table.measures:
        return Outcome(reason=NOTHING.format("base"))
    lines = data.lines(*PUBLIC)
    lines = lines[lines[measure].notna() & lines[TEST].notna()]
    quarter = lines.groupby(["origin", "dataset"])[TEST].transform(
        lambda values: values.quantile(0.75) if len(values) >= FEWEST else math.inf
    )
    years = [getattr(data.entry(id), "year", None) for id in lines["entry"]]
    modern = np.asarray([year is not None and year >= MODERN for year in years], dtype=bool)
    chosen = lines[(lines[TEST] > quarter).to_numpy() & modern]
    images = {(row.origin or "securitynet", row.entry, row.dataset, measure_of(row)): row.n for row in data.rows if row.n}
    parts = []
    for origin, entry, dataset, stolen, own in chosen[["origin", "entry", "dataset", measure, TEST]].itertuples(index=False, name=None):
        n, of_target = (images.get((origin, entry, dataset, name)) for name in (measure, TEST))
        if n and of_target:
            parts.append(_relative(entry, stolen, own, n, of_target, len(chosen)))
    if not parts:
        return Outcome(reason=f"no model of {MODERN} or later in the highest quarter of its dataset was stolen")
    parts.sort(key=_value)
    low = sum(_value(one) < HALF for one in parts)
    lowest = some(parts, f"lowest of {len(parts)} models: {parts[0].name}")
    whole = replace(lowest, estimate=lowest.estimate and replace(lowest.estimate, n=len(parts), clusters=len(parts), unit="models"))
    return Outcome(whole, tuple(parts), (f"{low} of these {len(parts)} models have copies with less than half of their accuracy",))


def _value(part: Part) -> float:
    return part.estimate.value if part.estimate else math.inf


def _relative(entry: str, stolen: float, own: float, n: int, images: int, count: int) -> Part:
    """Return the accuracy of a copy over that of its target; the error allows for any dependence of both, the interval for the choice."""
    error = math.sqrt(stolen * (1 - stolen) / n) + HALF * math.sqrt(own * (1 - own) / images)
    z = (stolen - HALF * own) / error
    half = float(stats.norm.isf(0.025 / count))
    ratio_error = math.sqrt(stolen * (1 - stolen) / n) / own + stolen * math.sqrt(own * (1 - own) / images) / own**2
    ratio = stolen / own
    estimate = Estimate(ratio, ratio - half * ratio_error, ratio + half * ratio_error, n, 1, "images")
    return Part(entry, estimate, min(1.0, 2 * float(stats.norm.cdf(z))), min(1.0, 2 * float(stats.norm.sf(z))))


def _variant(data: Data, claim: Claim, preset: str) -> Outcome:
    base, other = data.stealing(ACCURACY), data.stealing(ACCURACY, preset)
    if base is None or other is None:
        return Outcome(reason=NOTHING.format("base" if base is None else preset))
    lines = data.lines(*PUBLIC)
    try:
        return differences(claim, lines.assign(change=lines[other] - lines[base]), "change")
    except ValueError as error:
        return Outcome(reason=str(error))


def _wide(data: Data, claim: Claim) -> Outcome:
    return _variant(data, claim, "wide_surrogate")


def _foreign(data: Data, claim: Claim) -> Outcome:
    return _variant(data, claim, "ood_queries")


def _by_size(data: Data, claim: Claim) -> Outcome:
    measure = data.stealing(ACCURACY)
    if measure is None or TEST not in data.table.measures:
        return Outcome(reason=NOTHING.format("base"))
    lines = data.lines(*PUBLIC)
    sizes = [getattr(data.entry(id), "params", None) or math.nan for id in lines["entry"]]
    lines = lines.assign(size=np.asarray(sizes, dtype=float))
    outcome, plain = (within(data, claim, lines, "size", measure, covariate=covariate) for covariate in (TEST, None))
    if plain.whole is None:
        return outcome
    beside = replace(plain.whole, name=f"{plain.whole.name}, target accuracy not held equal", inside=False)
    return replace(outcome, parts=(*outcome.parts, beside))


BENCHMARK = "benchmark models (public models that were not trained for security research)"
CLAIMS = (
    Claim(
        id="stealing-cub",
        text="Stealing performs especially poorly on CUB-200-2011, in contrast to the same architectures elsewhere.",
        stated_by=STUDY,
        population=f"{BENCHMARK}: architectures that were stolen on CUB-200-2011 and on another dataset",
        statistic="mean over architectures of the copy's accuracy on CUB-200-2011 minus its accuracy elsewhere",
        covariates="none; architecture is held equal",
        refuted_if="the difference is clearly less than 0.02 below zero",
        unit="accuracy",
        sign=-1,
        margin=0.02,
        test=_birds,
        limits=("the targets themselves were fed wrongly on CUB-200-2011: their accuracy is 7 points below the publisher's", UNKNOWN),
    ),
    Claim(
        id="stealing-accuracy",
        text="The more accurate the target, the worse is stealing.",
        stated_by=STUDY,
        population=f"{BENCHMARK}, within each dataset",
        statistic="mean within datasets of Spearman's rho of copy's and target's accuracy",
        covariates="none",
        refuted_if="rho is clearly above -0.2",
        unit="rho",
        sign=-1,
        margin=0.2,
        test=_by_accuracy,
        limits=("on ImageNet-1k the fall begins above a target accuracy of about 0.65 only", UNKNOWN),
    ),
    Claim(
        id="stealing-modern",
        text="Stealing is too weak to be effective on some modern high-performing models.",
        stated_by=STUDY,
        population=f"{BENCHMARK} of {MODERN} or later in the highest quarter of their dataset by accuracy",
        statistic="accuracy of the copy over that of the target; too weak: below 0.5, for at least one model (Bonferroni)",
        covariates="none",
        refuted_if="every such model has a copy with clearly more than half of its accuracy",
        unit="ratio",
        sign=-1,
        margin=0.0,
        test=_modern,
        limits=("the study does not say what is too low; half of the target's accuracy is our choice", UNKNOWN),
    ),
    Claim(
        id="larger-surrogate",
        text="A larger surrogate does not improve stealing.",
        stated_by=READERS,
        population=f"{BENCHMARK} with both numbers",
        statistic="mean over datasets of the copy's accuracy with the wide surrogate minus the base one, same targets",
        covariates="none; the target is held equal",
        refuted_if="the wide surrogate is clearly better",
        unit="accuracy",
        sign=-1,
        margin=0.0,
        test=_wide,
        limits=("in the release the wide surrogate's numbers form two groups that no column explains", UNKNOWN),
    ),
    Claim(
        id="foreign-queries",
        text="Queries from another distribution make stealing less effective.",
        stated_by=READERS,
        population=f"{BENCHMARK} with both numbers",
        statistic="mean over datasets of the copy's accuracy with ImageNet queries minus that with own ones, same targets",
        covariates="none; the target is held equal",
        refuted_if="the loss is clearly less than 0.02",
        unit="accuracy",
        sign=-1,
        margin=0.02,
        test=_foreign,
        limits=(UNKNOWN,),
    ),
    Claim(
        id="complex-targets",
        text="Stealing works badly on overly complex targets.",
        stated_by=READERS,
        population=f"{BENCHMARK}, within each dataset",
        statistic="mean within datasets of the partial Spearman's rho of the copy's accuracy with the target's parameters",
        covariates="target accuracy",
        refuted_if="rho is clearly above -0.2",
        unit="rho",
        sign=-1,
        margin=0.2,
        test=_by_size,
        limits=("the example of the study, RegNetY-320, is not in the release", "parameters stand for complexity"),
    ),
    Claim(
        id="stealing-security",
        text="On poorly performing security models stealing rises with target accuracy.",
        stated_by=READERS,
        population="security models, within each dataset",
        statistic="mean within datasets of Spearman's rho of copy's and target's accuracy",
        covariates="none",
        refuted_if="rho is clearly below 0.2",
        unit="rho",
        sign=1,
        margin=0.2,
        test=_of_security,
        limits=("the released models with this number are of one source (adversarial training on CIFAR-10)", UNKNOWN),
    ),
)
