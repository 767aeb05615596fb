"""What the study says of membership inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from securitynet.metrics.vocabulary import AUC
from securitynet.report.claims.claim import READERS, STUDY, Claim, Outcome, Part, each, some
from securitynet.report.claims.data import PUBLIC, Data
from securitynet.report.claims.paired import FEWEST_OF_A_KIND, contrast, differences
from securitynet.report.claims.ranks import within
from securitynet.report.findings.hypotheses import FEWEST, untestable
from securitynet.report.findings.shared_terms import definition
from securitynet.report.measure_table import GAP, TEST, parts_of, titled

if TYPE_CHECKING:
    import pandas as pd

ENTROPY = "modified_entropy"
EXPERIMENT = ("MNIST", "Fashion-MNIST", "CIFAR-10", "CIFAR-100", "SVHN")
HARDER, MANY = 200, 100  # classes
SMALLEST_GAP = 0.01
NO_AUC = "no row holds the AUC of the {} attack beside the overfitting level"
MODELS_MLP = "membership/mlp"


def _overfitting(data: Data, claim: Claim) -> Outcome:
    measure = data.membership(ENTROPY)
    if measure is None or GAP not in data.table.measures:
        return Outcome(reason=NO_AUC.format("modified-entropy"))
    return within(data, claim, data.lines(), GAP, measure)


def _harder(data: Data, claim: Claim) -> Outcome:
    if GAP not in data.table.measures:
        return Outcome(reason=NO_AUC.format("membership"))
    lines = data.lines(*PUBLIC)
    lines = lines[lines[GAP] >= SMALLEST_GAP]
    found, clearest, missing = [], [], []
    for attack in _attacks(data):
        for _, known in lines[lines[attack].notna()].groupby("origin", sort=True):
            known = known.assign(strength=(known[attack] - 0.5) / (known[GAP] / 2))
            easy, hard = _kinds(data, known, attack)
            if not easy or not hard:
                missing.append(f"{titled(attack)}: {len(easy)} experiment datasets and {len(hard)} harder ones")
            for name in hard if easy else []:
                pairs = [_against(claim, known, attack, name, other) for other in easy]
                found += pairs
                clearest.append(each(pairs))
    if not clearest:
        reason = "; ".join(missing) or "no benchmark model has a level and the AUC of an attack other than prediction correctness"
        return Outcome(reason=f"not both kinds of datasets have ten models: {reason}")
    return Outcome(some(clearest), tuple(found))


def _attacks(data: Data) -> list[str]:
    names = [name for name in data.table.attacks() if name.startswith("membership/") and parts_of(name)[2] == AUC]
    return [name for name in names if name not in data.table.half and definition(GAP, name) is None]


def _kinds(data: Data, lines: pd.DataFrame, attack: str) -> tuple[list[str], list[str]]:
    """Return the experiment datasets and the harder ones on which enough models have a level that was measured."""
    usable = [str(name) for name, own in lines.groupby("dataset", sort=True) if untestable(own, GAP, attack) is None]
    return [name for name in usable if name in EXPERIMENT], [name for name in usable if data.classes.get(name, 0) >= HARDER]


def _against(claim: Claim, lines: pd.DataFrame, attack: str, hard: str, easy: str) -> Part:
    own = lines[lines["dataset"].isin([hard, easy])]
    name = f"{titled(attack)}: {hard} - {easy}"
    try:
        return claim.part(name, *contrast(own, "strength", (own["dataset"] == hard).tolist()))
    except ValueError as error:
        return Part(name, reason=str(error))


def _inputs(data: Data, claim: Claim) -> Outcome:
    pairs = _mlp_pairs(data)
    if not pairs:
        return Outcome(
            reason="no row holds the AUC of the MLP attack on all posteriors and on the three largest; the study shows them as dots in its "
            "figures and published no number"
        )
    lines = data.lines()
    many = lines[[data.classes.get(name, 0) >= MANY for name in lines["dataset"]]]
    full, top = max(pairs, key=lambda pair: int(many[list(pair)].notna().all(axis=1).sum()))
    try:
        outcome = differences(claim, many.assign(change=many[top] - many[full]), "change")
    except ValueError as error:
        return Outcome(reason=str(error))
    return (
        outcome if outcome.whole else Outcome(parts=outcome.parts, reason=f"no dataset of {MANY} or more classes has ten models with both")
    )


def _mlp_pairs(data: Data) -> list[tuple[str, str]]:
    """Return the measures of the MLP attack on all posteriors and on the top three that differ in nothing else."""
    names = [name for name in data.table.attacks() if parts_of(name)[0] == MODELS_MLP and parts_of(name)[2] == AUC]
    return [
        (full, top)
        for full in names
        for top in names
        if parts_of(full)[1].get("top") is None and parts_of(top)[1] == {**parts_of(full)[1], "top": 3}
    ]


def _security(data: Data, claim: Claim) -> Outcome:
    measure = data.membership(ENTROPY)
    if measure is None or not {GAP, TEST} <= set(data.table.measures):
        return Outcome(reason=NO_AUC.format("modified-entropy"))
    lines = data.lines(*PUBLIC, "security")
    known = lines[lines[[measure, GAP, TEST]].notna().all(axis=1)]
    parts = []
    for (_, dataset), own in known.groupby(["origin", "dataset"], sort=True):
        security = own["purpose"] == "security"
        if security.any() and not security.all():
            parts.append(_weak_ones(claim, str(dataset), own, measure))
    usable = [one for one in parts if one.estimate]
    if not usable:
        reason = "; ".join(f"{one.name}: {one.reason}" for one in parts) or "no dataset has both security and benchmark models"
        return Outcome(parts=tuple(parts), reason=reason)
    return Outcome(each(usable), tuple(parts))


def _weak_ones(claim: Claim, dataset: str, lines: pd.DataFrame, measure: str) -> Part:
    """Compare security models below the first quartile of benchmark accuracy with all others, over the levels that both have."""
    bound = lines.loc[lines["purpose"] != "security", TEST].quantile(0.25)
    weak = ((lines["purpose"] == "security") & (lines[TEST] < bound)).to_numpy()
    gap = lines[GAP].to_numpy(float)
    if not weak.any():
        return Part(dataset, reason="no security model is below the first quartile of benchmark models")
    low, high = max(gap[weak].min(), gap[~weak].min()), min(gap[weak].max(), gap[~weak].max())
    kept = (gap >= low) & (gap <= high)
    if min((kept & weak).sum(), (kept & ~weak).sum()) < FEWEST_OF_A_KIND:
        return Part(dataset, reason=f"fewer than {FEWEST_OF_A_KIND} models of each kind at equal overfitting")
    try:
        return claim.part(dataset, *contrast(lines[kept], measure, weak[kept].tolist(), GAP))
    except ValueError as error:
        return Part(dataset, reason=str(error))


def _training_data(data: Data, claim: Claim) -> Outcome:
    measure = data.membership(ENTROPY)
    if measure is None:
        return Outcome(reason=NO_AUC.format("modified-entropy"))
    return by_dataset(data, claim, data.lines(*PUBLIC, "other"), measure)


def by_dataset(data: Data, claim: Claim, lines: pd.DataFrame, measure: str) -> Outcome:
    """Return the outcome of a claim on Spearman's rho, over datasets, of a measure's mean with the number of classes.

    Of several origins of measurements, it is of the one with most datasets.
    """
    from securitynet.report.claims.estimates import jackknife
    from securitynet.report.claims.ranks import rank_correlation

    known = lines[lines[measure].notna()]
    known = max((own for _, own in known.groupby("origin", sort=True)), key=lambda own: own["dataset"].nunique(), default=known)
    means = [(data.classes[name], own[measure].mean()) for name, own in known.groupby("dataset", sort=True) if name in data.classes]
    if len(means) < FEWEST:
        return Outcome(reason=f"the unit is the dataset, and {len(means)} are too few; {FEWEST} are needed")
    values = np.asarray(means, dtype=float)
    labels = [str(number) for number in range(len(values))]
    spread = jackknife(lambda mask: float(np.arctanh(np.clip(rank_correlation(values[mask]), -0.999999, 0.999999))), labels, fisher=True)
    part = claim.part(f"{len(values)} datasets", spread, len(values), "datasets")
    return Outcome(part, (part,), (f"n counts datasets; {len(known)} models stand behind them",))


CLAIMS = (
    Claim(
        id="overfitting",
        text="Membership inference rises with the overfitting level.",
        stated_by=STUDY,
        population="all models, within each dataset and kind (benchmark, security)",
        statistic="mean within groups of Spearman's rho of the modified-entropy AUC with the overfitting level",
        covariates="none",
        refuted_if="rho is clearly below 0.2",
        unit="rho",
        sign=1,
        margin=0.2,
        test=_overfitting,
        limits=(
            "the AUC of prediction correctness is 0.5 + level / 2 by definition and is no evidence",
            "SVHN: the train accuracy is one typed number, so no level was measured",
        ),
    ),
    Claim(
        id="harder-data",
        text="An attack that does well on experiment datasets need not do so on harder ones.",
        stated_by=STUDY,
        population=(
            f"benchmark models with a level of at least {SMALLEST_GAP}; experiment: {', '.join(EXPERIMENT)}; "
            f"harder: {HARDER} classes or more"
        ),
        statistic=(
            "(AUC - 0.5) / (level / 2), how many times the attack beats the level's own; on at least one harder dataset it "
            "is below that on every experiment dataset (Bonferroni)"
        ),
        covariates="overfitting level, by the ratio",
        refuted_if="on every harder dataset it is clearly as high as on some experiment dataset",
        unit="times",
        sign=-1,
        margin=0.0,
        test=_harder,
        limits=("only the modified-entropy attack can be tested in the release: the MLP's numbers were never published",),
    ),
    Claim(
        id="mlp-inputs",
        text="With many classes the MLP attack differs between all posteriors and the three largest.",
        stated_by=STUDY,
        population=f"all models of datasets with {MANY} or more classes",
        statistic="mean over datasets of the AUC on the top three minus that on all, same models",
        covariates="none; the model is held equal",
        refuted_if="the difference is clearly within 0.01 of zero",
        unit="AUC",
        sign=0,
        margin=0.01,
        test=_inputs,
    ),
    Claim(
        id="security-leakage",
        text="At equal overfitting, low-performing security models leak less than other models.",
        stated_by=READERS,
        population=(
            "security models below the first quartile of benchmark accuracy on their dataset, against all others there, "
            "over the levels both have"
        ),
        statistic="difference of the modified-entropy AUC, on every dataset",
        covariates="overfitting level",
        refuted_if="on some dataset the difference is clearly above -0.002",
        unit="AUC",
        sign=-1,
        margin=0.002,
        test=_security,
        limits=("security models differ from others in source, training and architecture at once: the difference has no single cause",),
    ),
    Claim(
        id="membership-data",
        text="More classes and more data in training make membership inference harder.",
        stated_by=READERS,
        population="datasets",
        statistic="Spearman's rho over datasets of the mean modified-entropy AUC with the number of classes",
        covariates="none",
        refuted_if="rho is clearly above -0.2",
        unit="rho",
        sign=-1,
        margin=0.2,
        test=_training_data,
    ),
)
