"""The regressions and ranges of the released measurements of 2024, under the names of their tables, to be checked digit by digit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from securitynet.report.findings.statistics import correlate
from securitynet.report.measure_table import GAP, TEST, TRAIN, MeasureTable

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = "zhang2024"
STEALING = "stealing/knockoff"
COLUMNS = {
    "Train Accuracy": TRAIN,
    "Test Accuracy": TEST,
    "Overfit Gap": GAP,
    "Model Stealing Accuracy": f'{STEALING}{{"preset":"base"}}:accuracy',
    "Model Stealing Agreement": f'{STEALING}{{"preset":"base"}}:agreement',
    "Wrn Accuracy": f'{STEALING}{{"preset":"wide_surrogate"}}:accuracy',
    "Wrn Agree": f'{STEALING}{{"preset":"wide_surrogate"}}:agreement',
    "ImgNet Accuracy": f'{STEALING}{{"preset":"ood_queries"}}:accuracy',
    "ImgNet Agree": f'{STEALING}{{"preset":"ood_queries"}}:agreement',
    "Correct Auc": "membership/correctness:auc",
    "M_entropy AUC": "membership/modified_entropy:auc",
}
PRINTED = {"ImageNet-1k": "ImageNet1k"}
BENCHMARK = ("CIFAR-10", "CIFAR-100", "SVHN", "ImageNet-1k", "CUB-200-2011")
SAME = ("Model Stealing Accuracy", "Model Stealing Agreement")
LEAKS = ("Correct Auc", "M_entropy AUC")
BINS = (0.02, 0.03, 0.04, 0.055, 0.12)  # of the overfitting level, where security and benchmark models are compared


def released(table: MeasureTable) -> pd.DataFrame:
    """Return the lines of the released table, empty where the measurements hold none; columns that are absent are NaN."""
    return table.frame[table.frame["origin"] == ORIGIN].reindex(columns=[*table.frame.columns, *_absent(table)])


def _absent(table: MeasureTable) -> list[str]:
    return [name for name in COLUMNS.values() if name not in table.frame.columns]


def regressions(table: MeasureTable) -> list[dict[str, Any]]:
    """Return every regression of the released table: group, y, x, n, Pearson, Spearman with p, slope and intercept, intervals.

    No row is left out here but where a group says so; pooled groups are shown with a warning.
    """
    lines = released(table)
    found = []
    for group, y, x in _wanted():
        own = lines[_members(lines, group)]
        both = own[own[COLUMNS[x]].notna() & own[COLUMNS[y]].notna()]
        if len(both) > 2:
            numbers = asdict(correlate(both[COLUMNS[x]].to_numpy(float), both[COLUMNS[y]].to_numpy(float)))
            found.append({"group": group, "y": y, "x": x, "pooled": "pooled" in group or "minus organ" in group, **numbers})
    return found


def _wanted() -> Iterator[tuple[str, str, str]]:
    for dataset in BENCHMARK:
        variants = [name for name in ("Wrn Accuracy", "Wrn Agree") if dataset.startswith(("CIFAR", "SVHN"))]
        variants += [name for name in ("ImgNet Accuracy", "ImgNet Agree") if dataset != "ImageNet-1k"]
        group = f"benchmark/{PRINTED.get(dataset, dataset)}"
        yield from ((group, y, "Test Accuracy") for y in (*SAME, *variants, *LEAKS))
        yield from ((group, y, "Overfit Gap") for y in LEAKS)
    yield from (("benchmark/ImageNet1k minus resnesta152", y, "Test Accuracy") for y in SAME)
    yield from (("benchmark/5 datasets pooled", y, "Test Accuracy") for y in SAME)
    yield from ((f"benchmark/{name}", y, "Overfit Gap") for name in ("5 datasets pooled", "4 datasets pooled (no SVHN)") for y in LEAKS)
    yield from (("security/CIFAR-10", y, "Test Accuracy") for y in (*SAME, *LEAKS))
    yield from ((f"security/CIFAR-10/{kind}", y, "Test Accuracy") for kind in ("resnet", "vgg") for y in SAME)
    yield from (("security/ImageNet1k", y, "Test Accuracy") for y in LEAKS)
    overfit = ("CIFAR-10", "CIFAR-10/resnet", "CIFAR-10/vgg", "ImageNet1k", "ImageNet1k/resnet")
    yield from ((f"security/{name}", y, "Overfit Gap") for name in overfit for y in LEAKS)
    medical = ("MedMNIST2D pooled", "MedMNIST3D pooled", "MedMNIST3D minus organ,synapse")
    yield from ((f"other/{name}", y, "Test Accuracy") for name in medical for y in SAME)


def _members(lines: pd.DataFrame, group: str) -> pd.Series:
    """Return which lines belong to a group of the released regressions."""
    table, _, rest = group.partition("/")
    dataset = lines["dataset"]
    if table == "other":
        broken = ("organmnist3d", "synapsemnist3d") if "minus" in rest else ()
        return (lines["purpose"] == "other") & dataset.str.endswith("3d" if "3D" in rest else "mnist") & ~dataset.isin(broken)
    chosen = lines["paper_table"] == table
    if "pooled" in rest:
        return chosen & (lines["purpose"] == "benchmark") & (dataset != ("SVHN" if "no SVHN" in rest else None))
    name, _, left_out = rest.replace("ImageNet1k", "ImageNet-1k").partition(" minus ")
    name, _, kind = name.partition("/")
    chosen &= (dataset == name) & ((lines["model_type"] == kind) if kind else True)
    return chosen & (~lines["entry"].str.endswith(f"/{left_out}") if left_out else True)


def ranges(table: MeasureTable) -> list[dict[str, Any]]:
    """Return n, min, q25, median, mean, q75, max and sd (n - 1) of every measure in every group, the released and all others."""
    found = []
    for (origin, purpose, dataset), lines in table.groups():
        for name in table.measures:
            values = lines[name].dropna()
            if len(values):
                low, q25, median, q75, high = (float(values.quantile(share)) for share in (0, 0.25, 0.5, 0.75, 1))
                spread = float(values.std()) if len(values) > 1 else None
                numbers = {"n": len(values), "min": low, "q25": q25, "median": median, "mean": float(values.mean()), "q75": q75}
                found.append({"origin": origin, "group": f"{purpose}/{dataset}", "measure": name, **numbers, "max": high, "sd": spread})
    return found
