"""Reports of membership inference against brute force: tables, ROC figure, overlap, spread over seeds."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memorised import NAMES, evaluated
from PIL import Image
from sklearn.metrics import roc_auc_score

from securitynet import cli
from securitynet.errors import Skipped, UsageError
from securitynet.report.attack_overlap import found, overlap
from securitynet.report.comparison.seed_spread import spread
from securitynet.report.figures.roc import RocCurve, roc_figure
from securitynet.results.labels import labels_of
from securitynet.results.result import Result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return evaluated(folder)


def test_scores_are_those_of_the_model(result: Result) -> None:
    table, splits = result.scores("membership/loss"), result.splits
    assert splits.members is not None and splits.non_members is not None
    logits = np.concatenate([result.outputs[side].logits for side in ("members", "non_members")]).astype(float)
    labels = np.concatenate([splits.members.labels, splits.non_members.labels])
    assert table["member"].sum() == 200 and table["label"].tolist() == labels.tolist()
    assert table["index"].tolist() == [*splits.members.indices, *splits.non_members.indices]
    expected = logits[np.arange(440), labels] - np.log(np.exp(logits).sum(1))
    assert table["score"].to_numpy() == pytest.approx(expected, abs=1e-12) and (table["prediction"] == logits.argmax(1)).all()
    assert table["fpr"].to_numpy() == pytest.approx([(expected[200:] >= score).mean() for score in expected])
    assert result.scores("loss").equals(table)


def test_tables_are_of_what_the_attack_is_measured_on(result: Result) -> None:
    """The half that set no threshold, by the row's own n; AUC, classes and curve are of the same samples."""
    attack = "membership/modified_entropy_per_class"
    table, per_class, curve = result.scores(attack), result.per_class(attack), result.roc(attack)
    row = next(row for row in result.rows if (row.attack, row.metric) == (attack, "auc"))
    assert len(table) == row.n == 220 and per_class[["members", "non_members"]].to_numpy().sum() == 220
    assert row.value == pytest.approx(roc_auc_score(table["member"], table["score"]), abs=1e-12)
    assert row.value == pytest.approx(np.trapezoid(curve["tpr"], curve["fpr"]), abs=1e-12)
    assert per_class["name"].tolist() == list(NAMES)
    for line in per_class.to_dict("records"):
        own = table[table["label"] == line["class"]]
        assert line["auc"] == pytest.approx(roc_auc_score(own["member"], own["score"]), abs=1e-12)


def test_tables_from_the_cache_and_without_labels_are_the_same(result: Result, folder: Path) -> None:
    again = evaluated(folder)
    assert again.outputs["members"] is not result.outputs["members"]
    for attack in ("membership/loss", "membership/modified_entropy_per_class"):
        assert again.per_class(attack).equals(result.per_class(attack)) and again.scores(attack).equals(result.scores(attack))
    bare = {key: {name: value for name, value in one.items() if "labels" not in name} for key, one in result.evidence.items()}
    assert replace(result, evidence=bare).per_class("loss").equals(result.per_class("loss"))


def test_attacks_without_scores_say_why(result: Result, tmp_path: Path) -> None:
    unknown = evaluated(tmp_path, membership="unknown")
    with pytest.raises(Skipped, match="it is not known which images"):
        unknown.per_class("membership/loss")
    with pytest.raises(UsageError, match="membership/loss"):
        result.scores("membership/los")
    with pytest.raises(UsageError, match="no attack"):
        overlap(unknown)
    assert "membership/tail" not in {one.attack for one in result.scored()}


def test_labels_name_what_differs() -> None:
    def keys(attack: str, *params: dict[str, Any]) -> list[tuple[str, str]]:
        return [(f"membership/{attack}", json.dumps(one)) for one in params]

    mlp = keys(
        "mlp", {"top": None, "label": False, "fits": 3}, {"top": 3, "label": False, "fits": 3}, {"top": None, "label": True, "fits": 3}
    )
    assert labels_of(mlp) == ["mlp", "mlp (top 3)", "mlp (label)"]
    assert labels_of(keys("loss", {"held_out": True}, {"held_out": False})) == ["loss (half)", "loss"]
    nested = keys("lira", {"references": {"count": 2}}, {"references": {"count": 4}})
    assert labels_of([*nested, ("mine/Own", "{}")]) == ["lira (references count 2)", "lira (references count 4)", "mine/Own"]


def test_overlap_counts_what_each_finds(result: Result) -> None:
    table = overlap(result, 0.05)
    members, non_members = found(result, 0.05)
    names = ["loss", "entropy", "correctness", "modified_entropy_per_class", "modified_entropy"]
    assert table.index.tolist() == [*names, "any of them"] and members.columns.tolist() == names
    assert len(members) == 100 and len(non_members) == 120  # the half on which all are measured
    sets = {name: set(members.index[members[name]]) for name in names}
    sets["any of them"] = set().union(*sets.values())
    scores = result.scores("loss")
    others = scores[~scores["member"] & scores["index"].isin(non_members.index)]["score"].sort_values()
    inside = scores[scores["member"] & scores["index"].isin(members.index)]
    assert sets["loss"] == set(inside["index"][inside["score"] > others.iloc[-7]])  # six of 120 are 5 %
    for name, own in sets.items():
        assert table.loc[name, "found"] == len(own) and table.loc[name, "tpr"] == pytest.approx(len(own) / 100)
        for other, theirs in sets.items():
            expected = len(own & theirs) / len(own | theirs) if own | theirs else math.nan
            assert table.loc[name, other] == pytest.approx(expected, nan_ok=True)
    for name in names:
        assert table.loc[name, "fpr"] <= 0.05
        assert table.loc[name, "alone"] == len(sets[name] - set().union(*(sets[other] for other in names if other != name)))
    assert table.loc["any of them", "alone"] == table["alone"].iloc[:-1].sum()
    assert table.loc["any of them", "fpr"] >= table["fpr"].iloc[:-1].max()
    with pytest.raises(UsageError, match="needs at least 1000 non-members, there are 120"):
        overlap(result, 0.001)


def test_spread_over_seeds(result: Result, folder: Path) -> None:
    results = [result, evaluated(folder, 1), evaluated(folder, 2)]
    table = spread(results)
    line = table[(table["attack"] == "membership/modified_entropy_per_class") & (table["metric"] == "auc")].iloc[0]
    values = np.array([one.value("membership/modified_entropy_per_class", "auc") for one in results], dtype=float)
    assert line["seeds"] == 3 and line["sd"] == pytest.approx(values.std(ddof=1)) and line["sd"] > 0
    assert (line["mean"], line["min"], line["max"]) == pytest.approx((values.mean(), values.min(), values.max()))
    loss = table[(table["attack"] == "membership/loss") & (table["metric"] == "auc")]
    assert len(loss) == 1 and loss["sd"].item() == 0.0  # all samples are taken, whatever the seed
    assert "tpr_at_fpr_0.001" not in set(table["metric"])  # too few non-members, no number


def test_roc_figure(result: Result, tmp_path: Path) -> None:
    assert roc_figure(result, tmp_path / "roc.png", band=True) == tmp_path / "roc.png"
    with Image.open(tmp_path / "roc.png") as image:
        assert min(image.size) > 800
    text = roc_figure(result, tmp_path / "roc.svg").read_text()
    for words in (
        "modified_entropy_per_class",
        "chance",
        "1/240 = 0.42 %",
        "local/&lt;b&gt;x&lt;/b&gt; on of-my-own",
        "200 members and 240",
    ):
        assert words in text
    auc = result.value("membership/loss", "auc") or 0.0
    assert f"· {auc:.3f} · loss" in text
    assert roc_figure(result, tmp_path / "again.svg").read_text() == text
    only = roc_figure(result, tmp_path / "one.svg", ["membership/entropy"]).read_text()
    assert "entropy" in only and "correctness" not in only
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.svg", "one.svg", "roc.png", "roc.svg"]


def test_roc_figure_says_what_is_missing(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"ends in \.png, \.svg"):
        roc_figure(result, tmp_path / "roc.jpg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'securitynet\[plots\]'"):
        roc_figure(result, tmp_path / "roc.png")
    assert not list(tmp_path.iterdir())


def test_a_line_keeps_what_can_be_seen(result: Result) -> None:
    rng = np.random.default_rng(0)
    many = replace(result.scored()[0], members=rng.normal(1, 1, 50_000), non_members=rng.normal(0, 1, 50_000))
    curve = RocCurve.of(many, ("solid", "black"))
    fpr, tpr = curve.thinned()
    assert len(fpr) < 4000 < len(curve.fpr)
    for at in np.geomspace(1e-4, 1, 60):
        assert tpr[fpr <= at].max() == pytest.approx(curve.tpr[curve.fpr <= at].max(), rel=0.012)


def test_several_seeds_on_the_command_line(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "builtin/digits-overfit", "--attacks", "membership/loss", "--seeds", "3", "4", "--cache-dir", str(folder)]
    assert cli.main([*arguments, "--json"]) == cli.DONE
    record = json.loads(capsys.readouterr().out)
    assert {row["seed"] for row in record["rows"]} == {3, 4}
    line = next(one for one in record["spread"] if (one["attack"], one["metric"]) == ("membership/loss", "balanced_accuracy"))
    values = [row["value"] for row in record["rows"] if (row["attack"], row["metric"]) == ("membership/loss", "balanced_accuracy")]
    assert line["seeds"] == len(values) == 2 and (line["min"], line["max"]) == (min(values), max(values))
    assert cli.main([*arguments, "--output", str(tmp_path / "out"), "--roc", str(tmp_path / "roc.svg")]) == cli.DONE
    assert "over 2 seeds" in capsys.readouterr().out and (tmp_path / "roc.svg").exists()
    assert all((tmp_path / "out" / f"seed-{seed}" / "rows.jsonl").exists() for seed in (3, 4))
    assert cli.main([*arguments, "--roc", "roc.gif"]) == cli.USAGE
