"""What the study says of backdoor detection, metadata, datasets, and of public models against those of researchers' own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from securitynet.metrics.intervals import clopper_pearson
from securitynet.metrics.vocabulary import ACCURACY, FLAGGED
from securitynet.report.claims.claim import READERS, STUDY, Claim, Outcome, Part, each, some
from securitynet.report.claims.data import PUBLIC, Data
from securitynet.report.claims.estimates import Estimate
from securitynet.report.claims.membership import ENTROPY, by_dataset
from securitynet.report.claims.paired import FEWEST_OF_A_KIND, contrast, differences
from securitynet.report.findings.hypotheses import FEWEST, Tested
from securitynet.report.findings.metadata import metadata_effects, metadata_of
from securitynet.report.findings.statistics import Effect
from securitynet.report.measure_table import GAP, TEST, titled

if TYPE_CHECKING:
    import pandas as pd

FILTERS, CLEANSE = ("backdoor/strip", "backdoor/neo"), "backdoor/neural_cleanse"
RATE = 0.05
OF_THE_PAPER = ("year", "number of authors", "author in USA", "author in China", "arXiv only")
OWN_SOURCES = ("builtin", "planted")


def _filters(data: Data, claim: Claim) -> Outcome:
    flags: dict[str, bool] = {}
    for row in data.rows:
        if row.attack in FILTERS and row.metric == FLAGGED and row.value is not None and row.status == "ok" and _clean(data, row.entry):
            flags[row.entry] = flags.get(row.entry, False) or row.value > 0
    if len(flags) < FEWEST:
        return Outcome(reason=f"{len(flags)} public models have a verdict of STRIP or NEO, {FEWEST} are needed; the study published none")
    n, flagged = len(flags), sum(flags.values())
    low, high = clopper_pearson(flagged, n)
    few, many = float(stats.binom.cdf(flagged, n, RATE)), float(stats.binom.sf(flagged - 1, n, RATE))
    part = Part("flagged models", Estimate(flagged / n, low, high, n, n, "models"), min(1.0, 2 * few), min(1.0, 2 * many))
    return Outcome(part, (part,))


def _clean(data: Data, id: str) -> bool:
    entry = data.entry(id)
    return entry is not None and entry.backdoor in (None, "none") and not _is_own(data, id)


def _cost(data: Data, claim: Claim) -> Outcome:
    import pandas as pd

    seconds: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in data.rows:
        if row.attack in (*FILTERS, CLEANSE) and row.seconds and row.status == "ok":
            own = seconds.setdefault((row.origin or "securitynet", row.entry, row.dataset or "unstated"), {})
            own[row.attack] = max(own.get(row.attack, 0.0), row.seconds)
    both = {key: own for key, own in seconds.items() if CLEANSE in own and any(name in own for name in FILTERS)}
    found = []
    for (origin, id, dataset), own in both.items():
        entry, slowest = data.entry(id), max(own[name] for name in FILTERS if name in own)
        kind = (entry.paper_model_type or entry.family if entry else None) or "unstated"
        change = math.log10(slowest / own[CLEANSE])
        found.append({"origin": origin, "entry": id, "dataset": dataset, "model_type": kind, "change": change})
    if not found:
        return Outcome(reason="no model has the seconds of Neural Cleanse beside those of STRIP or NEO; the study published none")
    try:
        return differences(claim, pd.DataFrame(found), "change")
    except ValueError as error:
        return Outcome(reason=str(error))


def _metadata(data: Data, claim: Claim) -> Outcome:
    wanted = [name for name in (data.stealing(ACCURACY), data.membership(ENTROPY)) if name]
    facts = metadata_of(data.table)[list(OF_THE_PAPER)]
    tests = metadata_effects(replace(data.table, measures=tuple(wanted)), facts)
    parts = [_of_effect(one) for one in tests]
    usable = [one for one in parts if one.estimate]
    if not usable:
        return Outcome(parts=tuple(parts), reason="no group has ten models of six model types with metadata and a number of an attack")
    units = max(one.estimate.clusters for one in usable if one.estimate)
    limit = f"metadata are of the paper of a model type, so that a test has at most {units} independent values"
    return Outcome(some(usable), tuple(parts), (limit,))


def _of_effect(one: Tested) -> Part:
    name = f"{titled(one.y)} by {one.x}: {one.dataset}, {one.purpose}"
    if not isinstance(one.numbers, Effect):
        return Part(name, reason=one.reason)
    effect = one.numbers
    error = (effect.high - effect.low) / 2 / float(stats.t.ppf(0.975, effect.df))
    inner = [
        float(stats.t.sf((0.2 - effect.coefficient) / error, effect.df)),
        float(stats.t.sf((effect.coefficient + 0.2) / error, effect.df)),
    ]
    estimate = Estimate(effect.coefficient, effect.low, effect.high, effect.n, effect.groups, "model types", effect.df)
    return Part(name, estimate, effect.p, min(1.0, 2 * max(inner)))


def _classes(data: Data, claim: Claim) -> Outcome:
    measure = data.stealing(ACCURACY)
    if measure is None or TEST not in data.table.measures:
        return Outcome(reason="no row holds the accuracy of a copy beside the target's")
    lines = data.lines(*PUBLIC, "other")
    return by_dataset(data, claim, lines.assign(relative=lines[measure] / lines[TEST]), "relative")


def _security_accuracy(data: Data, claim: Claim) -> Outcome:
    lines = data.lines(*PUBLIC, "security")
    known, parts = lines[lines[TEST].notna()] if TEST in lines else lines[:0], []
    for (_, dataset), own in known.groupby(["origin", "dataset"], sort=True):
        security = (own["purpose"] == "security").tolist()
        if min(sum(security), len(security) - sum(security)) < FEWEST_OF_A_KIND:
            continue
        try:
            parts.append(claim.part(str(dataset), *contrast(own, TEST, security)))
        except ValueError as error:
            parts.append(Part(str(dataset), reason=str(error)))
    usable = [one for one in parts if one.estimate]
    if not usable:
        return Outcome(parts=tuple(parts), reason=f"no dataset has {FEWEST_OF_A_KIND} security and {FEWEST_OF_A_KIND} benchmark models")
    return Outcome(each(usable), tuple(parts))


def _self_trained(data: Data, claim: Claim) -> Outcome:
    own = np.asarray([_is_own(data, str(id)) for id in data.table.frame["entry"]], dtype=bool)
    if not own.any():
        return Outcome(
            reason="all models of these rows are public; give rows of models trained by oneself beside them (--results FILE...), "
            "of the same dataset, attack and settings"
        )
    parts = []
    for measure, covariate in ((data.membership(ENTROPY), GAP), (data.stealing(ACCURACY), TEST)):
        if measure and covariate in data.table.measures:
            parts += _own_and_public(data, claim, own, measure, covariate)
    usable = [one for one in parts if one.estimate]
    if not usable:
        return Outcome(
            parts=tuple(parts), reason=f"no dataset has {FEWEST_OF_A_KIND} public and {FEWEST_OF_A_KIND} own models with one attack"
        )
    return Outcome(some(usable), tuple(parts), ("the rows must come from one set of attack settings: nothing here can check that",))


def _own_and_public(data: Data, claim: Claim, own: np.ndarray, measure: str, covariate: str) -> list[Part]:
    frame: pd.DataFrame = data.table.frame.assign(own=own)
    known, parts = frame[frame[[measure, covariate]].notna().all(axis=1)], []
    for (_, dataset), lines in known.groupby(["origin", "dataset"], sort=True):
        flag = lines["own"].tolist()
        if min(sum(flag), len(flag) - sum(flag)) < FEWEST_OF_A_KIND:
            continue
        name = f"{titled(measure)}: {dataset}"
        try:
            parts.append(claim.part(name, *contrast(lines, measure, [not one for one in flag], covariate)))
        except ValueError as error:
            parts.append(Part(name, reason=str(error)))
    return parts


def _is_own(data: Data, id: str) -> bool:
    """Built-in and planted models are self-trained, and what neither the catalog nor the Hub knows."""
    return id.split("/")[0] in OWN_SOURCES or (data.entry(id) is None and not id.startswith("hf-hub:"))


CLAIMS = (
    Claim(
        id="security-accuracy",
        text="Security models perform worse on their task than benchmark models.",
        stated_by=READERS,
        population="security models against benchmark models of the same dataset",
        statistic="difference of the target accuracy, on every dataset",
        covariates="none",
        refuted_if="on some dataset the difference is clearly above -0.02",
        unit="accuracy",
        sign=-1,
        margin=0.02,
        test=_security_accuracy,
        limits=("in the release, security models are adversarially trained, or trained as their controls, by two groups",),
    ),
    Claim(
        id="stealing-classes",
        text="Stealing is harder where there are more classes.",
        stated_by=READERS,
        population="datasets of benchmark and medical models",
        statistic="Spearman's rho over datasets of the mean of copy's over target's accuracy with the number of classes",
        covariates="none",
        refuted_if="rho is clearly above -0.2",
        unit="rho",
        sign=-1,
        margin=0.2,
        test=_classes,
        limits=("datasets differ in many things at once, and 15 of those in the release are of one collection (MedMNIST)",),
    ),
    Claim(
        id="metadata",
        text="Attack performance goes along with metadata of a model's paper.",
        stated_by=STUDY,
        population="benchmark, security and medical models, within each dataset",
        statistic=(
            f"standardised coefficient of {', '.join(OF_THE_PAPER)} on stealing accuracy and modified-entropy AUC, "
            "random intercept per model type; at least one is not zero (Bonferroni)"
        ),
        covariates="model type, as random effect",
        refuted_if="every coefficient is clearly within 0.2 of zero",
        unit="sd per sd",
        sign=0,
        margin=0.2,
        test=_metadata,
        limits=("the study announces this analysis; what it found is not on its pages, so the weakest form is tested",),
    ),
    Claim(
        id="public-models",
        text="Attacks perform differently on public models than on models that one trained oneself.",
        stated_by=STUDY,
        population="public models and self-trained ones (built-in, planted, or not in the catalog) of one dataset",
        statistic="difference of the modified-entropy AUC and of the stealing accuracy, in at least one dataset (Bonferroni)",
        covariates="overfitting level for membership, target accuracy for stealing",
        refuted_if="every difference is clearly within 0.01 of zero",
        unit="AUC or accuracy",
        sign=0,
        margin=0.01,
        test=_self_trained,
    ),
    Claim(
        id="backdoor-filters",
        text="Input filters (STRIP, NEO) raise hardly any false alarm on public models.",
        stated_by=READERS,
        population="public models without a known backdoor",
        statistic="share of models that STRIP or NEO flags; hardly any: below 5 %",
        covariates="none",
        refuted_if="the share is clearly above 5 %",
        unit="share",
        sign=-1,
        margin=RATE,
        test=_filters,
        limits=("there is no ground truth: a flag on a public model is taken as false",),
    ),
    Claim(
        id="backdoor-cost",
        text="Input filters (STRIP, NEO) cost much less than Neural Cleanse.",
        stated_by=READERS,
        population="all models with both",
        statistic="mean over datasets of log10 of the slower filter's seconds over Neural Cleanse's",
        covariates="none; the model is held equal",
        refuted_if="the filters are clearly slower",
        unit="log10",
        sign=-1,
        margin=0.0,
        test=_cost,
    ),
)
