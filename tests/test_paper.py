"""The claims of the study of 2024, one by one, against a computation from the released file that shares no code with the package."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from securitynet.report.claims import CLAIMS, Study, study
from securitynet.report.claims.claim import CONFIRMED, UNTESTED

BAD = {"suspect_eval", "constant_predictor", "failed_attack"}
NAMES = {
    ("verify", "{}", "train_accuracy"): "train", ("verify", "{}", "test_accuracy"): "test", ("verify", "{}", "overfit_gap"): "gap",
    ("stealing/knockoff", '{"preset":"base"}', "accuracy"): "steal", ("stealing/knockoff", '{"preset":"base"}', "agreement"): "agree",
    ("stealing/knockoff", '{"preset":"wide_surrogate"}', "accuracy"): "wide",
    ("stealing/knockoff", '{"preset":"ood_queries"}', "accuracy"): "ood", ("membership/modified_entropy", "{}", "auc"): "entropy",
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Study:
    return study()


@pytest.fixture(scope="module")
def record(found: Study) -> dict[str, Any]:
    """The claims by id as `securitynet paper --json` prints them."""
    whole = json.loads(json.dumps(found.to_record()))
    return {one["id"]: one for one in whole["claims"]}


@pytest.fixture(scope="module")
def released() -> pd.DataFrame:
    """The released table: one line per model, its numbers and the metadata of its record, sound models only."""
    catalog = resources.files("securitynet.catalog")
    rows = [json.loads(line) for line in catalog.joinpath("results/zhang2024.jsonl").read_text(encoding="utf-8").splitlines()]
    long = pd.DataFrame([(one["entry"], NAMES.get((one["attack"], one["params"], one["metric"])), one["value"]) for one in rows])
    wide = long.dropna().pivot(index=0, columns=1, values=2)
    entries = {}
    for path in catalog.joinpath("models").iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            if one["id"] in wide.index:
                entries[one["id"]] = one
    keys = ["dataset", "purpose", "paper_model_type", "params", "year", "num_authors", "countries", "num_classes", "flags"]
    table = wide.join(pd.DataFrame.from_dict(entries, orient="index")[keys])
    assert len(table) == 529
    return table[[not BAD & set(flags or ()) for flags in table["flags"]]].rename(columns={"paper_model_type": "type"})


def left_out(
    values: Callable[[pd.DataFrame], float], table: pd.DataFrame, clusters: Sequence[str], df: float
) -> tuple[float, float, float]:
    """The value, and its 95 % interval by leaving out one cluster at a time."""
    labels, whole = np.asarray(clusters), values(table)
    names = np.unique(labels)
    changes = np.asarray([values(table[labels != name]) - whole for name in names])
    half = stats.t.ppf(0.975, df) * np.sqrt((1 - 1 / len(names)) * (changes**2).sum())
    return whole, whole - half, whole + half


def kish(clusters: Sequence[str]) -> float:
    counts = pd.Series(list(clusters)).value_counts().to_numpy()
    return counts.sum() ** 2 / (counts**2).sum() - 1


def within(table: pd.DataFrame, x: str, y: str) -> float:
    """Fisher's z of the mean rho within datasets and purposes."""
    parts = [(len(own), own[x].corr(own[y], method="spearman")) for _, own in table.groupby(["dataset", "purpose"]) if len(own) > 4]
    parts = [(n, rho) for n, rho in parts if np.isfinite(rho)]
    return sum((n - 3) * np.arctanh(rho) for n, rho in parts) / sum(n - 3 for n, _ in parts)


def same(claim: dict[str, Any], expected: Sequence[float], n: int, verdict: str) -> None:
    effect = claim["effect"]
    assert [effect["value"], effect["low"], effect["high"]] == pytest.approx(list(expected), abs=1e-8)
    assert (effect["n"], claim["verdict"]) == (n, verdict)


def test_stealing_on_birds(record: dict[str, Any], released: pd.DataFrame) -> None:
    birds = [f"pytorchcv/{kind}resnet{depth}" for kind in ("", "se") for depth in (10, 12, 14, 16, 18, 26)]
    change = np.asarray([released.loc[f"{name}_cub", "steal"] - released.loc[name, "steal"] for name in birds])
    interval = stats.ttest_1samp(change, 0).confidence_interval(0.95)
    same(record["stealing-cub"], (change.mean(), interval.low, interval.high), 12, CONFIRMED)
    assert record["stealing-cub"]["p"] == pytest.approx(stats.ttest_1samp(change, 0).pvalue, rel=1e-6)
    targets = next(one for one in record["stealing-cub"]["parts"] if one["name"] == "target accuracy")
    change = [released.loc[f"{name}_cub", "test"] - released.loc[name, "test"] for name in birds]
    assert targets["value"] == pytest.approx(np.mean(change)) and not targets["inside"]


@pytest.mark.parametrize(
    ("id", "x", "y", "purposes", "n"),
    [("stealing-accuracy", "test", "steal", ("benchmark",), 262), ("overfitting", "gap", "entropy", ("benchmark", "security"), 301)],
)
def test_correlations_within_datasets(
    record: dict[str, Any], released: pd.DataFrame, id: str, x: str, y: str, purposes: tuple[str, ...], n: int
) -> None:
    lines = released[released["purpose"].isin(purposes) & released[x].notna() & released[y].notna()]
    if x == "gap":
        lines = lines[lines["dataset"] != "SVHN"]  # one train accuracy for all
    expected = left_out(lambda table: within(table, x, y), lines, lines["type"], kish(lines["type"]))
    same(record[id], np.tanh(expected), n, CONFIRMED)
    for (dataset, purpose), own in lines.groupby(["dataset", "purpose"]):
        [part] = [one for one in record[id]["parts"] if one["name"] == f"{dataset}, {purpose}"]
        assert part["value"] == pytest.approx(stats.spearmanr(own[x], own[y]).statistic) and part["n"] == len(own) and part["inside"]


def test_what_is_beside_the_claim_that_stealing_falls(record: dict[str, Any]) -> None:
    beside = {one["name"]: one for one in record["stealing-accuracy"]["parts"] if not one["inside"]}
    assert beside["CIFAR-10, security"]["value"] > 0.9 and beside["fracturemnist3d, other"]["value"] > 0.7
    assert "too few" in beside["bloodmnist, other"]["reason"]


def test_stealing_of_security_models(record: dict[str, Any], released: pd.DataFrame) -> None:
    lines = released[(released["purpose"] == "security") & released["steal"].notna()]
    recipes = lines.index.str.rsplit("/", n=2).str[0]
    assert len(set(recipes)) == 12
    expected = left_out(lambda table: np.arctanh(table["test"].corr(table["steal"], method="spearman")), lines, recipes, kish(recipes))
    same(record["stealing-security"], np.tanh(expected), 72, CONFIRMED)


def test_stealing_of_modern_models(record: dict[str, Any], released: pd.DataFrame) -> None:
    lines = released[(released["purpose"] == "benchmark") & released["steal"].notna()]
    best = lines[(lines["test"] > lines.groupby("dataset")["test"].transform("quantile", 0.75)) & (lines["year"] >= 2018)]
    ratio = best["steal"] / best["test"]
    claim = record["stealing-modern"]
    assert claim["effect"]["value"] == pytest.approx(ratio.min()) and ratio.idxmin() in claim["decided_by"]
    assert (claim["effect"]["n"], claim["verdict"]) == (len(best), CONFIRMED)
    assert f"{(ratio < 0.5).sum()} of these {len(best)} models" in claim["limits"][-1]
    low, target, n = best["steal"][ratio.idxmin()], best["test"][ratio.idxmin()], 50_000  # images of the validation set
    bounds = (
        stats.binomtest(round(low * n), n).proportion_ci(1 - 0.05 / len(best)),
        stats.binomtest(round(target * n), n).proportion_ci(0.99),
    )
    assert claim["effect"]["high"] == pytest.approx(bounds[0].high / bounds[1].low, abs=0.003) and bounds[0].high < bounds[1].low / 2


@pytest.mark.parametrize(("id", "column", "n"), [("larger-surrogate", "wide", 132), ("foreign-queries", "ood", 146)])
def test_variants_of_stealing(record: dict[str, Any], released: pd.DataFrame, id: str, column: str, n: int) -> None:
    lines = released[released[column].notna()]
    lines = lines.assign(change=lines[column] - lines["steal"])
    shares = (1 / lines.groupby("dataset")["change"].transform("size")).groupby(lines["type"]).sum()  # each dataset counts as one
    df = shares.sum() ** 2 / (shares**2).sum() - 1
    expected = left_out(lambda table: table.groupby("dataset")["change"].mean().mean(), lines, lines["type"], df)
    same(record[id], expected, n, CONFIRMED)
    assert len(record[id]["parts"]) == lines["dataset"].nunique()


def test_stealing_of_large_targets(record: dict[str, Any], released: pd.DataFrame) -> None:
    lines = released[(released["purpose"] == "benchmark") & released["steal"].notna()]

    def partial(table: pd.DataFrame) -> float:
        z, weight = 0.0, 0
        for _, own in table.groupby("dataset"):
            ranks = own[["params", "steal", "test"]].rank()
            rest = [ranks[name] - np.polyval(np.polyfit(ranks["test"], ranks[name], 1), ranks["test"]) for name in ("params", "steal")]
            z, weight = z + (len(own) - 4) * np.arctanh(np.corrcoef(*rest)[0, 1]), weight + len(own) - 4
        return z / weight

    expected = left_out(partial, lines, lines["type"], kish(lines["type"]))
    same(record["complex-targets"], np.tanh(expected), 262, UNTESTED)
    plain = record["complex-targets"]["parts"][-1]
    assert plain["value"] == pytest.approx(np.tanh(within(lines, "params", "steal"))) and not plain["inside"]


def test_attacks_on_harder_data(record: dict[str, Any], released: pd.DataFrame) -> None:
    lines = released[(released["purpose"] == "benchmark") & released["entropy"].notna() & (released["dataset"] != "SVHN")]
    lines = lines.assign(strength=(lines["entropy"] - 0.5) / (lines["gap"] / 2))
    means = lines.groupby("dataset")["strength"].mean()
    assert means.idxmin() == "ImageNet-1k" and means[["CIFAR-10", "CIFAR-100"]].idxmin() == "CIFAR-100"
    two = lines[lines["dataset"].isin(["ImageNet-1k", "CIFAR-100"])]

    def difference(table: pd.DataFrame) -> float:
        own = table.groupby("dataset")["strength"].mean()
        return own["ImageNet-1k"] - own["CIFAR-100"]

    df = min(kish(own["type"]) for _, own in two.groupby("dataset"))
    value, low, high = left_out(difference, two, two["type"], df)
    same(record["harder-data"], (value, low, high), 148, CONFIRMED)
    t = value / ((high - low) / 2 / stats.t.ppf(0.975, df))
    assert record["harder-data"]["p"] == pytest.approx(2 * 2 * stats.t.cdf(t, df))  # two-sided, for two harder datasets


def test_leakage_of_weak_security_models(record: dict[str, Any], released: pd.DataFrame) -> None:
    lines = released[released["purpose"].isin(["benchmark", "security"]) & released["entropy"].notna()]
    parts = {one["name"]: one for one in record["security-leakage"]["parts"]}
    for dataset in ("CIFAR-10", "ImageNet-1k"):
        own = lines[lines["dataset"] == dataset]
        bound = own.loc[own["purpose"] == "benchmark", "test"].quantile(0.25)
        weak = (own["purpose"] == "security") & (own["test"] < bound)
        low, high = own.loc[weak, "gap"].agg(["min", "max"]), own.loc[~weak, "gap"].agg(["min", "max"])
        own = own.assign(weak=weak.astype(float))[own["gap"].between(max(low["min"], high["min"]), min(low["max"], high["max"]))]
        names = own["type"].where(own["weak"] == 0, own["type"] if dataset == "ImageNet-1k" else own.index.str.rsplit("/", n=2).str[0])

        def coefficient(table: pd.DataFrame) -> float:
            rest = [np.polyval(np.polyfit(table["gap"], table[name], 1), table["gap"]) for name in ("weak", "entropy")]
            a, b = table["weak"] - rest[0], table["entropy"] - rest[1]
            return float((a * b).sum() / (a * a).sum())

        df = max(min(kish(names[own["weak"] == flag]) for flag in (0, 1)), 1)
        part = parts[dataset]
        assert [part["value"], part["low"], part["high"]] == pytest.approx(left_out(coefficient, own, names, df), abs=1e-8), dataset
    assert parts["CIFAR-10"]["high"] < 0 < parts["ImageNet-1k"]["high"]
    assert record["security-leakage"]["verdict"] == UNTESTED and "holds in CIFAR-10" in record["security-leakage"]["why"]


def test_accuracy_of_security_models(record: dict[str, Any], released: pd.DataFrame) -> None:
    for part in record["security-accuracy"]["parts"]:
        means = released[released["dataset"] == part["name"]].groupby("purpose")["test"].mean()
        assert part["value"] == pytest.approx(means["security"] - means["benchmark"])
    assert {one["name"] for one in record["security-accuracy"]["parts"]} == {"CIFAR-10", "ImageNet-1k"}


def test_stealing_by_classes(record: dict[str, Any], released: pd.DataFrame) -> None:
    lines = released[released["purpose"].isin(["benchmark", "other"]) & released["steal"].notna()]
    lines = lines.assign(relative=lines["steal"] / lines["test"])
    means = lines.groupby("dataset").agg(relative=("relative", "mean"), classes=("num_classes", "first"))
    expected = left_out(
        lambda table: np.arctanh(table["relative"].corr(table["classes"], method="spearman")), means, means.index, len(means) - 1
    )
    same(record["stealing-classes"], np.tanh(expected), 20, UNTESTED)


def test_metadata(record: dict[str, Any], released: pd.DataFrame) -> None:
    """The decisive coefficient by restricted maximum likelihood with the whole covariance matrix written out."""
    claim = record["metadata"]
    assert claim["decided_by"] == "stealing accuracy by year: ImageNet-1k, benchmark" and claim["verdict"] == UNTESTED
    own = released[(released["dataset"] == "ImageNet-1k") & (released["purpose"] == "benchmark")]
    x, y = ((own[name] - own[name].mean()) / own[name].std(ddof=0) for name in ("year", "steal"))
    design, same_type = np.column_stack([np.ones(len(own)), x]), (own["type"].to_numpy()[:, None] == own["type"].to_numpy()).astype(float)

    def parts(log: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        inverse = np.linalg.inv(np.exp(log[0]) * same_type + np.exp(log[1]) * np.eye(len(own)))
        gram = design.T @ inverse @ design
        beta = np.linalg.solve(gram, design.T @ inverse @ y)
        rest = y - design @ beta
        return beta, gram, float(rest @ inverse @ rest - np.linalg.slogdet(inverse)[1] + np.linalg.slogdet(gram)[1])

    best = optimize.minimize(lambda log: parts(log)[2], np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    beta, gram, _ = parts(best.x)
    half = stats.t.ppf(0.975, 22 - 2) * np.sqrt(np.linalg.inv(gram)[1, 1])
    assert [claim["effect"][name] for name in ("value", "low", "high")] == pytest.approx(
        [beta[1], beta[1] - half, beta[1] + half], abs=1e-4
    )


def test_claims_that_the_release_cannot_test(record: dict[str, Any]) -> None:
    reasons = {id: one["why"] for id, one in record.items() if one["verdict"] == UNTESTED and one["effect"]["value"] is None}
    assert set(reasons) == {"mlp-inputs", "membership-data", "public-models", "backdoor-filters", "backdoor-cost"}
    assert "published no number" in reasons["mlp-inputs"] and "5 are too few" in reasons["membership-data"]
    assert "all models of these rows are public" in reasons["public-models"]


def test_holm_over_the_claims(record: dict[str, Any]) -> None:
    tested = sorted((one for one in record.values() if one["p"] is not None), key=lambda one: one["p"])
    assert len(tested) == 13 and [one["id"] for one in tested if one["verdict"] == CONFIRMED] == [one["id"] for one in tested[:8]]
    largest = 0.0
    for number, one in enumerate(tested):
        largest = max(largest, min(1.0, one["p"] * (len(tested) - number)))
        assert one["p_corrected"] == pytest.approx(largest)
        assert (one["p_corrected"] < 0.05) == (one["verdict"] != UNTESTED)


def test_every_claim_is_complete(record: dict[str, Any]) -> None:
    assert set(record) == {one.id for one in CLAIMS} and len(CLAIMS) == len(record) == 18
    for one in record.values():
        for name in ("text", "stated_by", "population", "statistic", "covariates", "refuted_if", "unit", "why"):
            assert one[name], (one["id"], name)
        assert one["command"] == f"securitynet paper --claim {one['id']}"
