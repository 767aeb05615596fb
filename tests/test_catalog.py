"""The catalog as it ships: the published regressions come out of its rows, its reader finds things, its files are sound."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

import securitynet
from securitynet import catalog
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.maintenance.card import features

CATALOG = Path(str(catalog.__file__)).parent
REGRESSIONS = json.loads((Path(__file__).parent / "data" / "paper-correlations.json").read_text(encoding="utf-8"))
COLUMNS = {
    "Train Accuracy": ("verify", "train_accuracy", "{}"),
    "Test Accuracy": ("verify", "test_accuracy", "{}"),
    "Overfit Gap": ("verify", "overfit_gap", "{}"),
    "Correct Auc": ("membership/correctness", "auc", "{}"),
    "M_entropy AUC": ("membership/modified_entropy", "auc", "{}"),
    "Model Stealing Accuracy": ("stealing/knockoff", "accuracy", '{"preset":"base"}'),
    "Model Stealing Agreement": ("stealing/knockoff", "agreement", '{"preset":"base"}'),
    "Wrn Accuracy": ("stealing/knockoff", "accuracy", '{"preset":"wide_surrogate"}'),
    "Wrn Agree": ("stealing/knockoff", "agreement", '{"preset":"wide_surrogate"}'),
    "ImgNet Accuracy": ("stealing/knockoff", "accuracy", '{"preset":"ood_queries"}'),
    "ImgNet Agree": ("stealing/knockoff", "agreement", '{"preset":"ood_queries"}'),
}
Models = dict[str, tuple[Entry, dict[tuple[str, str, str], dict[str, Any]]]]


@pytest.fixture(scope="module")
def released() -> Models:
    """The released models: config `results` joined with `models` on `entry`."""
    entries = {entry.id: entry for entry in catalog.entries()}
    joined: Models = {}
    for row in catalog.results():
        if row["origin"] == "zhang2024":
            _, rows = joined.setdefault(row["entry"], (entries[row["entry"]], {}))
            rows[row["attack"], row["metric"], row["params"]] = row
    return joined


def group_of(name: str) -> Callable[[Entry], bool]:
    """The models of one group of the published regressions."""
    table, _, rest = name.partition("/")
    if table == "security":
        dataset, _, family = rest.replace("ImageNet1k", "ImageNet-1k").partition("/")
        return lambda entry: (entry.paper_table, entry.dataset) == (table, dataset) and family in ("", entry.paper_model_type)
    if table == "other":
        broken = ("organmnist3d", "synapsemnist3d") if "minus" in rest else ()
        size = "3d" if "3D" in rest else "mnist"
        return lambda entry: entry.purpose == "other" and str(entry.dataset).endswith(size) and entry.dataset not in broken
    if "pooled" in rest:
        missing = "SVHN" if "no SVHN" in rest else None
        return lambda entry: (entry.paper_table, entry.purpose) == (table, "benchmark") and entry.dataset != missing
    dataset, _, left_out = rest.replace("ImageNet1k", "ImageNet-1k").partition(" minus ")
    return lambda entry: (entry.paper_table, entry.dataset) == (table, dataset) and (not left_out or entry.name != left_out)


@pytest.mark.parametrize("expected", REGRESSIONS, ids=lambda one: f"{one['group']}: {one['y']} by {one['x']}")
def test_published_regressions(released: Models, expected: dict[str, Any]) -> None:
    wanted = group_of(expected["group"])
    pairs = [
        (rows[COLUMNS[expected["x"]]]["value"], rows[COLUMNS[expected["y"]]]["value"]) for entry, rows in released.values() if wanted(entry)
    ]
    x, y = zip(*[pair for pair in pairs if None not in pair], strict=True)
    line, rank = stats.linregress(x, y), stats.spearmanr(x, y)
    found = {"n": len(x), "pearson": line.rvalue, "spearman": rank.statistic, "slope": line.slope, "intercept": line.intercept}
    for name, value in found.items():
        assert round(float(value), 4) == expected[name], name
    if abs(expected["pearson"]) < 0.9999:  # nearer to 1 the probabilities are rounding noise
        assert float(f"{line.pvalue:.1e}") == expected["pearson_p"]
        assert float(f"{rank.pvalue:.1e}") == expected["spearman_p"]


def test_all_78_regressions_are_here() -> None:
    assert len(REGRESSIONS) == 78


def test_counts_and_nulls_of_the_release(released: Models) -> None:
    assert Counter(entry.paper_table for entry, _ in released.values()) == {"benchmark": 437, "security": 92}
    projects = [json.loads(line) for file in catalog._files("projects") for line in catalog._lines(file)]
    assert Counter(project["origin"] for project in projects) == {"zhang2024": 102, "securitynet": 14}
    assert all(project["is_classifier"] and (project["route"] or project["why_not"]) for project in projects)
    assert Counter(project["is_classifier"] for project in projects if project["origin"] == "zhang2024") == {
        "yes": 22,
        "partly": 47,
        "no": 33,
    }
    globs = [glob for project in projects for glob in project["entries"] or ()]
    assert len(globs) == 6 and all(securitynet.list_models(glob) for glob in globs)
    nulls = Counter(
        (entry.paper_table, column)
        for entry, rows in released.values()
        for column, key in COLUMNS.items()
        if key in rows and rows[key]["value"] is None
    )
    counts = (174, 174, 187, 187, 305, 305, 291, 291)
    columns = ["Train Accuracy", "Overfit Gap", "Correct Auc", "M_entropy AUC"]
    columns += ["Wrn Accuracy", "Wrn Agree", "ImgNet Accuracy", "ImgNet Agree"]
    expected = {("benchmark", column): count for column, count in zip(columns, counts, strict=True)}
    assert nulls == expected | {("security", "Model Stealing Accuracy"): 20, ("security", "Model Stealing Agreement"): 20}


def test_printed_values_are_multiples_of_one_image(released: Models) -> None:
    checked = 0
    for _, rows in released.values():
        for row in rows.values():
            if row["n"] and row["metric"] != "auc" and row["value"]:
                count, rounding = row["value"] * row["n"], 1.5e-6 * row["n"]  # six digits, some rounded to single precision before
                assert abs(count - round(count)) <= rounding, row
                checked += 1
    assert checked > 2400
    for entry, rows in released.values():
        if entry.paper_table == "security":
            auc, gap = (rows[COLUMNS[name]]["value"] for name in ("Correct Auc", "Overfit Gap"))
            assert auc == pytest.approx(0.5 + gap / 2, abs=1e-9)


def test_the_release_is_no_claim(released: Models) -> None:
    assert all(entry.claimed_accuracy is None for entry, _ in released.values() if entry.source in ("medmnist", "ivrl"))
    assert all(entry.claimed_accuracy is not None for entry, _ in released.values() if entry.source in ("pytorchcv", "robust_transfer"))


def test_reading_one_and_all() -> None:
    everything = catalog.entries()
    assert [entry.id for entry in everything] == catalog.ids() == securitynet.list_models()
    assert len(everything) >= 3300 and len(set(catalog.ids())) == len(everything)
    for entry in everything[:: len(everything) // 20]:
        assert catalog.entry(entry.id) == entry == Entry.from_record(entry.to_record())


def test_the_real_models_are_here(real: Path) -> None:
    for line in (real / "entries.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        entry = catalog.entry(record["id"])
        assert (entry.weights_hash, entry.weights_url, entry.integrity) == (record["sha256"], record["address"], "full")
        assert [getattr(entry, key) for key in ("claimed_accuracy", "dataset")] == [record[key] for key in ("claimed_accuracy", "dataset")]
        backdoor = record["backdoor"] or {}
        assert (entry.weights_size, entry.backdoor_target, entry.backdoor_success) == (
            record["size"],
            backdoor.get("target"),
            backdoor.get("success"),
        )


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({"pattern": "pytorchcv/*"}, 539),
        ({"pattern": "PytorchCV/ResNet20_*"}, 3),
        ({"pattern": "*/resnet[24]*", "source": "akamaster"}, 2),
        ({"source": "med*"}, 252),
        ({"dataset": "cifar10", "source": "ivrl"}, 72),
        ({"pattern": "timm/*"}, 1440),
        ({"source": "torchvision", "family": "vgg"}, 9),
        ({"dataset": "ImageNet1k", "source": "robust_transfer"}, 67),
        ({"dataset": "*mnist3d"}, 108),
        ({"family": "WRN", "source": "robust_transfer"}, 25),
        ({"purpose": "security", "dataset": "MNIST"}, 12),
        ({"pattern": "nothing/*"}, 0),
    ],
)
def test_list_models(arguments: dict[str, str], count: int) -> None:
    found = securitynet.list_models(**arguments)
    assert len(found) == count and set(found) <= set(catalog.ids())


STRANGE = ["akamaster/resnet2", "akamaster", "", "akamaster/resnet20\n", 'akamaster/resnet20", "source": "akamaster', "../models/akamaster"]


@pytest.mark.parametrize("id", STRANGE)
def test_an_unknown_id_names_its_neighbours(id: str) -> None:
    with pytest.raises(UsageError, match=r"unknown model .*; (did you mean .*/|known: )"):
        catalog.entry(id)


def test_neighbours_and_unknown_names() -> None:
    with pytest.raises(UsageError, match=r"did you mean akamaster/resnet20, akamaster/resnet44"):
        catalog.entry("akamaster/resnet21")
    with pytest.raises(UsageError, match="CIFAR-10"):
        securitynet.list_models(dataset="cifar-11")
    with pytest.raises(UsageError, match=r"unknown config 'model'.*models"):
        securitynet.load_catalog("model")


def test_results_by_dataset() -> None:
    every = catalog.results()
    for name, key in (("cifar10", "CIFAR-10"), ("ImageNet-1k", "ImageNet-1k"), ("breastmnist", "breastmnist"), ("digits", "digits")):
        assert catalog.results(name) == [row for row in every if row["dataset"] == key]
    assert len([row for row in catalog.results("cifar10") if row["origin"] == "zhang2024"]) == 47 * 11 + 72 * 7


def test_reading_imports_nothing_heavy() -> None:
    calls = "catalog.entries(); catalog.results(); catalog.entry('akamaster/resnet20')"
    code = f"import sys; from securitynet import catalog; {calls}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "securitynet.catalog" in loaded
    assert not {"torch", "datasets", "numpy", "yaml", "huggingface_hub"} & set(loaded)


@pytest.mark.parametrize("config", catalog.CONFIGS)
def test_plain_load_dataset_gives_the_declared_features(config: str) -> None:
    import datasets

    plain = datasets.load_dataset(str(CATALOG), config)
    assert list(plain) == ["train"] and plain["train"].features == features(config)
    ours = securitynet.load_catalog(config)
    assert ours.features == features(config)
    records = [json.loads(line) for file in catalog._files(config) for line in catalog._lines(file)]
    dates = {name for name, feature in features(config).items() if getattr(feature, "dtype", "") == "timestamp[s]"}
    assert [{**row, **dict.fromkeys(dates)} for row in ours] == [{**record, **dict.fromkeys(dates)} for record in records]


def test_models_is_the_default_config() -> None:
    import datasets

    assert datasets.load_dataset(str(CATALOG), split="train").features == features("models")
