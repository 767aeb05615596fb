"""Comparison of saved results: paired tests against independent references, pages, errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from securitynet.cli import main
from securitynet.errors import UsageError
from securitynet.metrics import membership
from securitynet.metrics.intervals import Estimate, difference
from securitynet.metrics.paired import auc_difference, interval_difference, rate_difference, tpr_difference
from securitynet.report.comparison.attack_table import attack_table, columns
from securitynet.report.comparison.compare import compare, find_saved
from securitynet.report.saved_result import read_saved
from securitynet.results.row import Row

Sides = tuple[np.ndarray, np.ndarray]


def scores(seed: int, shift: float, shared: np.ndarray | None = None, n: int = 300) -> Sides:
    rng = np.random.default_rng(seed)
    base = np.zeros(2 * n) if shared is None else shared
    values = base + rng.normal(size=2 * n)
    return values[:n] + shift, values[n:]


def test_auc_difference_against_the_definition() -> None:
    """Reference: the covariance of DeLong's components, written out as sums over all pairs."""
    shared = np.random.default_rng(0).normal(size=80)
    first, second = scores(1, 0.7, shared, 40), scores(2, 0.2, shared, 40)
    estimate, p = auc_difference(first, second)

    def kernel(one: Sides) -> np.ndarray:
        return (one[0][:, None] > one[1][None]) + 0.5 * (one[0][:, None] == one[1][None])

    a, b = kernel(first), kernel(second)
    rows, columns = np.cov(a.mean(axis=1), b.mean(axis=1)), np.cov(a.mean(axis=0), b.mean(axis=0))
    weights = np.asarray([1, -1])
    error = np.sqrt(weights @ (rows / 40 + columns / 40) @ weights)
    truth = np.repeat([1, 0], 40)
    value = roc_auc_score(truth, np.concatenate(first)) - roc_auc_score(truth, np.concatenate(second))
    assert estimate.value == pytest.approx(value)
    wider = np.sqrt(error**2 + 0.5 / 40**2 + 0.5 / 40**2)  # a quarter of a sample in each direction, of both groups
    assert estimate.ci_high - estimate.ci_low == pytest.approx(2 * 1.959964 * wider, rel=1e-6)  # type: ignore[operator]
    assert p == pytest.approx(2 * stats.norm.sf(abs(value) / error))
    same, none = auc_difference(first, first)
    assert (same.value, same.ci_high, none) == (0.0, pytest.approx(1.959964 / 40), None)  # equal here is not equal everywhere


def test_auc_difference_has_the_right_size_and_power() -> None:
    alarms, hits = 0, 0
    for seed in range(200):
        shared = np.random.default_rng(1000 + seed).normal(size=200)
        alarms += auc_difference(scores(2 * seed, 0.4, shared, 100), scores(2 * seed + 1, 0.4, shared, 100))[1] < 0.05  # type: ignore[operator]
        hits += auc_difference(scores(2 * seed, 1.2, shared, 100), scores(2 * seed + 1, 0.2, shared, 100))[1] < 0.05  # type: ignore[operator]
    assert 2 <= alarms <= 22 and hits > 190


def test_tpr_difference_agrees_with_the_rates() -> None:
    first, second = scores(5, 1.5, n=1200), scores(6, 0.5, n=1200)
    rates = [membership.tpr_at_fpr(*one, 0.01).value for one in (first, second)]
    found = tpr_difference(first, second, 0.01)
    assert found.value == pytest.approx(rates[0] - rates[1])  # type: ignore[operator]
    assert found.ci_low < found.value < found.ci_high and found.ci_method == "normal, paired"  # type: ignore[operator]
    same = tpr_difference(first, first, 0.01)
    assert same.value == 0 and same.ci_low == -same.ci_high < 0  # type: ignore[operator]
    exact = tpr_difference((first[0], first[1][:500]), (second[0], second[1][:500]), 0.01)
    assert exact.ci_method == "exact bracket, paired" and exact.ci_low < exact.value < exact.ci_high  # type: ignore[operator]
    few = tpr_difference((first[0], first[1][:50]), (second[0], second[1][:50]), 0.01)
    assert few.value is None and "437" in str(few.reason)


def test_resampled_rates_are_those_of_whole_resamples() -> None:
    """The bootstrap draws only the largest scores one by one; whole resamples have the same spread."""
    first, second = scores(7, 1.0, n=1000), scores(8, 0.6, n=1000)
    rng, whole = np.random.default_rng(0), []
    for _ in range(1500):
        inside, outside = rng.integers(0, 1000, 1000), rng.integers(0, 1000, 1000)
        pair = [one[0][inside] > np.sort(one[1][outside])[-20] for one in (first, second)]
        whole.append(pair[0].mean() - pair[1].mean())
    found = tpr_difference(first, second, 0.02)
    assert (found.ci_high - found.ci_low) / 2 / 1.96 == pytest.approx(np.std(whole), rel=0.08)  # type: ignore[operator]


def test_rate_difference_is_mcnemars() -> None:
    first, second = np.asarray([1] * 30 + [1] * 12 + [0] * 4 + [0] * 10, bool), np.asarray([1] * 30 + [0] * 12 + [1] * 4 + [0] * 10, bool)
    estimate, p = rate_difference("test_accuracy", first, second)
    assert estimate.value == pytest.approx(8 / 56)
    assert p == pytest.approx(2 * stats.binom.cdf(4, 16, 0.5))
    gaps = np.concatenate([first.astype(float) - second, [1, -1, 0, 0]])  # half a sample in each of the four cells, drawn twice
    weights = np.concatenate([np.ones(56), np.full(4, 0.5)])
    centre = np.average(gaps, weights=weights)
    half = 1.959964 * np.sqrt(np.average((gaps - centre) ** 2, weights=weights) / 58)
    assert (estimate.ci_low, estimate.ci_high) == (pytest.approx(centre - half), pytest.approx(centre + half))


def test_interval_difference_is_newcombes_for_wilson_intervals() -> None:
    from securitynet.metrics.intervals import wilson

    ends = [wilson(56, 70), wilson(48, 80)]
    found = interval_difference("x", Estimate("x", 0.8, 70, *ends[0]), Estimate("x", 0.6, 80, *ends[1]))
    reference = difference("x", (56, 70), (48, 80))
    assert (found.ci_low, found.ci_high) == (pytest.approx(reference.ci_low), pytest.approx(reference.ci_high))
    assert interval_difference("x", Estimate("x", 0.8, 70), Estimate("x", 0.6, 80)).ci_low is None


def saved(folder: Path, id: str, sides: Sides, manifest: str = "m", dataset: str = "digits") -> Path:
    """Write a folder as `evaluate --output` does."""
    area = membership.auc(*sides)
    correct = np.random.default_rng(sum(map(ord, id))).random(50) < 0.8
    common = {"entry": id, "dataset": dataset, "manifest": manifest}
    rows = [
        Row(**common, attack="verify", family="verify", metric="test_accuracy", value=float(correct.mean()), n=50),
        Row(**common, attack="membership/loss", family="membership", metric="auc", value=area.value, ci_low=area.ci_low,
            ci_high=area.ci_high, n=area.n),
        Row(**common, attack=f"membership/{'only' if id.endswith('a') else 'other'}", family="membership", metric="auc", value=0.5),
    ]  # fmt: skip
    (folder / "evidence").mkdir(parents=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row.to_record()) + "\n" for row in rows))
    (folder / "entry.json").write_text(json.dumps({"id": id, "dataset": dataset}))
    np.savez(folder / "evidence" / "loss.npz", members=sides[0], non_members=sides[1], attack="membership/loss", params="{}")
    logits = np.eye(2, dtype=np.float32)[np.where(correct, 1, 0)]
    np.savez(folder / "outputs.npz", test_logits=logits, test_labels=np.ones(50, np.int64))
    return folder


def test_paired_where_the_images_are_the_same(tmp_path: Path) -> None:
    shared = np.random.default_rng(9).normal(0, 3, size=600)
    first, second = scores(1, 1.2, shared), scores(2, 0.6, shared)
    folders = [saved(tmp_path / "a", "own/a", first), saved(tmp_path / "b", "own/b", second), saved(tmp_path / "c", "own/ccc", second, "n")]
    paired, alone = compare([read_saved(folder) for folder in folders])
    [auc] = [one for one in paired.differences if one.metric == "auc"]
    [wide] = [one for one in alone.differences if one.metric == "auc"]
    assert (paired.paired, alone.paired) == (True, False)
    assert (auc.method, auc.p) == ("DeLong, paired", auc_difference(first, second)[1])
    assert (wide.method, wide.p) == ("from both intervals", None)
    assert auc.difference == pytest.approx(wide.difference)
    assert wide.ci_high - wide.ci_low > 2 * (auc.ci_high - auc.ci_low)  # type: ignore[operator]
    [accuracy] = [one for one in paired.differences if one.metric == "test_accuracy"]
    assert accuracy.method == "Agresti-Min, paired"
    assert paired.missing == ("membership/only", "membership/other")


def test_evidence_that_is_not_of_the_rows_is_not_used(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", "own/a", scores(1, 1.0))
    other = saved(tmp_path / "b", "own/b", scores(2, 0.5))
    np.savez(other / "evidence" / "loss.npz", members=np.zeros(300), non_members=np.ones(300), attack="membership/loss", params="{}")
    [found] = compare([read_saved(folder), read_saved(other)])
    assert [one.method for one in found.differences if one.metric == "auc"] == ["from both intervals"]


def test_command_page_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "own/<script>alert(1)</script>"
    a, b = saved(tmp_path / "a", "own/a", scores(1, 1.2)), saved(tmp_path / "b", hostile, scores(2, 0.6))
    page = tmp_path / "compare.html"
    assert main(["compare", str(a), hostile, "--within", str(tmp_path), "--output", str(page)]) == 0
    assert "membership" not in capsys.readouterr().err
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert main(["compare", str(a), str(b), "--json"]) == 0
    [record] = json.loads(capsys.readouterr().out)
    assert record["first"] == "own/a" and record["paired"] is True
    assert main(["compare", str(a)]) == 2
    assert main(["compare", str(a), "own/none", "--within", str(tmp_path)]) == 2
    (b / "evidence" / "loss.npz").write_bytes(b"broken")
    assert main(["compare", str(a), str(b)]) == 2
    capsys.readouterr()
    with pytest.raises(UsageError, match="no folder of"):
        find_saved("own/none", tmp_path / "nowhere")


def test_one_metric_of_every_attack_under_every_defence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = {"none": "own/model", "one": "own/model+top-k:3", "two": "own/model+noise:0.1+label-only"}
    folders = {name: saved(tmp_path / name, id, scores(seed, 1.0)) for seed, (name, id) in enumerate(ids.items())}
    found = attack_table([read_saved(folder) for folder in folders.values()], "auc")
    assert found.columns == ("none", "top-k:3", "noise:0.1+label-only")
    loss = next(line for line in found.lines if line.attack == "membership/loss")
    assert [row.value if row else None for row in loss.rows] == [membership.auc(*scores(seed, 1.0)).value for seed in range(3)]
    assert columns(["own/model", "own/model-2"]) == ("own/model", "own/model-2")
    command = ["compare", *map(str, folders.values()), "--metric", "auc"]
    assert main([*command, "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert {cell["model"] for cell in cells if cell["attack"] == "membership/loss"} == set(found.columns)
    assert main(command) == 0 and "[" in capsys.readouterr().out
    assert main([*command[:-1], "auk"]) == 2 and "did you mean auc" in capsys.readouterr().err
