"""A small table in the form of the released one, with each of its peculiarities, and the catalog that it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from securitynet.entry import Entry
from securitynet.importers.securitynet_2024 import BENCHMARK_COLUMNS, PROJECT_COLUMNS, SECURITY_COLUMNS, ImportReport, import_table

ZENODO, IMGCLSMOB = "[Link](https://zenodo.org/records/10519652)", "[Link](https://github.com/osmr/imgclsmob/tree/master/pytorch)"
IVRL, MICROSOFT = (
    "[Link](https://github.com/IVRL/AdversaryLossLandscape/tree/master)",
    "[Link](https://github.com/Microsoft/robust-models-transfer)",
)
PAPER = {"Conference": "CVPR", "Conference Type": "CV", "Year": "2016", "Country": "USA, China", "Num Authors": "4", "Purpose": "benchmark"}
MEASURED = {
    "Train Accuracy": "1", "Test Accuracy": "0.9334", "Overfit Gap": "0.0666", "Model Stealing Accuracy": "0.75",
    "Model Stealing Agreement": "0.76", "Correct Auc": "0.53", "M_entropy AUC": "0.55", "Wrn Accuracy": "0.58", "Wrn Agree": "0.59",
    "ImgNet Accuracy": "0.6", "ImgNet Agree": "0.61",
}  # fmt: skip
RESNET = {
    "Model Name": "resnet20_cifar10", "Model Type": "resnet", "Data Name": "CIFAR-10", "Data Category": "natural", "Num Class": "10",
    "Training Size": "50000", **MEASURED, **PAPER, "Paper Link": "[Link](https://arxiv.org/abs/1512.03385)", "Weights": IMGCLSMOB,
}  # fmt: skip
MEDICAL = RESNET | {
    "Model Name": "resnet18_acs_1.pth", "Data Name": "synapsemnist3d", "Train Accuracy": "0", "Test Accuracy": "0.269886",
    "Overfit Gap": "-0.269886", "Model Stealing Agreement": "1", "Correct Auc": "0", "M_entropy AUC": "0", "Wrn Accuracy": "0",
    "Wrn Agree": "0", "ImgNet Accuracy": "0", "ImgNet Agree": "0", "Country": "China, Netherland", "Purpose": "other", "Weights": ZENODO,
}  # fmt: skip
ROBUST = RESNET | {
    "Model Name": "vgg16_bn_l2_eps3.ckpt", "Data Name": "ImageNet1k", "Model Stealing Accuracy": "nan", "Model Stealing Agreement": "nan",
    "Purpose": "security", "Weights": MICROSOFT,
}  # fmt: skip
RUN = RESNET | {"Model Name": "resnet_periodic_cosine_eps8_wd1e-3_max16_100", "Purpose": "security", "Weights": IVRL}
PROJECT = {
    "Title": "A project", "Conference": "ICLR", "Conference Type": "ML", "Year": "2022", "Note": "", "Paper Link": "[Paper](http://arxiv.org/abs/1)",
    "Weights": "[Link](https://github.com/a/b.git)",
}  # fmt: skip
BENCHMARK = [
    RESNET,
    RESNET | {"Model Name": "vgg16_bn", "Data Name": "ImageNet1k"},
    RESNET | {"Model Name": "resnet20_svhn", "Data Name": "SVHN", "Train Accuracy": "0.999"},
    MEDICAL,
]
SECURITY = [RUN, ROBUST, RUN]
PROJECTS = [
    PROJECT,
    PROJECT | {"Title": "No paper", "Paper Link": "[Paper](A title in its place (mlr.press))", "Note": "no weights"},
    PROJECT | {"Title": "Code twice", "Paper Link": "[Paper](http://www.github.com/a/b)"},
]  # fmt: skip
RUNS = [f"ivrl/resnet_cifar10/periodic_cosine/{run}/resnet_8_eps8_wd1e-3_max16_100.ckpt" for run in (1, 2, 3)]
IDS = [
    "pytorchcv/resnet20_cifar10",
    "pytorchcv/bn_vgg16",
    "pytorchcv/resnet20_svhn",
    "medmnist/synapsemnist3d/resnet18_acs_1",
    "robust_transfer/vgg16_bn_l2_eps3",
    *RUNS,
]


def table(columns: tuple[str, ...], rows: list[Mapping[str, str]]) -> str:
    lines = [columns, [":---"] * len(columns), *([row[name] for name in columns] for row in rows)]
    return "".join(f"| {' | '.join(cells)}   |\n" for cells in lines)


def text_of(benchmark: list[Any] = BENCHMARK, security: list[Any] = SECURITY, projects: list[Any] = PROJECTS) -> str:
    tables = (("Benchmark Models", BENCHMARK_COLUMNS, benchmark), ("Security Research Models", SECURITY_COLUMNS, security))
    parts = [f"## {heading}\n{table(columns, rows)}\n" for heading, columns, rows in (*tables, ("New Models", PROJECT_COLUMNS, projects))]
    return "# Models\n\nwords | with a bar\n\n" + "".join(parts)


def write_catalog(folder: Path) -> Path:
    """Make a catalog whose entries say nothing yet that the table could say, but for one venue."""
    (folder / "models").mkdir()
    for id in IDS:
        source, _, name = id.partition("/")
        entry = Entry(id=id, source=source, name=name, venue="ICML" if name == "bn_vgg16" else None)
        with (folder / "models" / f"{source}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry.to_record(), ensure_ascii=False) + "\n")
    return folder


def bring(folder: Path, text: str | None = None) -> ImportReport:
    readme = folder / "README.MD"
    readme.write_text(text_of() if text is None else text, encoding="utf-8")
    return import_table(readme, folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.jsonl"))}
