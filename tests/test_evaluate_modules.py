"""The modules for `evaluate` and the metrics behind them, against closed forms and other libraries; a Space goes round."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub import Hub
from scipy import stats

from securitynet.errors import UsageError
from securitynet.metrics import detection, fidelity, modules


def test_divergence_and_distance_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.dirichlet(np.ones(5), 200), rng.dirichlet(np.ones(5), 200)
    expected = stats.entropy(theirs, ours, axis=1)
    found = fidelity.kl(ours, theirs)
    assert found.value == pytest.approx(expected.mean()) and found.n == 200
    sample = stats.bootstrap((expected,), np.mean, method="percentile", rng=1).confidence_interval
    assert (found.ci_low, found.ci_high) == pytest.approx((sample.low, sample.high), abs=0.02)
    distance = fidelity.total_variation(ours, theirs)
    largest = [max(abs((p - q)[list(subset)].sum()) for subset in subsets(5)) for p, q in zip(ours[:20], theirs[:20], strict=True)]
    assert fidelity.total_variation(ours[:20], theirs[:20]).value == pytest.approx(np.mean(largest)), "the largest difference over events"
    assert distance.ci_low is not None and distance.ci_low < (distance.value or 0) < (distance.ci_high or 0)
    assert fidelity.mean("kl", np.empty(0)).value is None


def subsets(k: int) -> list[tuple[int, ...]]:
    return [tuple(i for i in range(k) if mask >> i & 1) for mask in range(1, 2**k)]


def test_rates_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix, precision_score

    rng = np.random.default_rng(0)
    flagged, backdoored = rng.random(50) < 0.4, rng.random(50) < 0.3
    tn, fp, fn, tp = confusion_matrix(backdoored, flagged).ravel()
    found = {one.metric: one for one in detection.rates(flagged, backdoored)}
    assert found["true_positive_rate"].value == tp / (tp + fn) and found["false_positive_rate"].value == fp / (fp + tn)
    assert found["precision"].value == precision_score(backdoored, flagged)
    exact = stats.binomtest(int(tp), int(tp + fn)).proportion_ci(method="exact")
    assert (found["true_positive_rate"].ci_low, found["true_positive_rate"].ci_high) == pytest.approx((exact.low, exact.high))


def test_every_module_is_a_whole_space() -> None:
    import yaml

    assert modules.names() == ["backdoor_detection", "membership_leakage", "prediction_agreement", "surrogate_fidelity"]
    for name in modules.names():
        folder = Path(modules.path(name))
        assert {path.name for path in folder.iterdir() if path.is_file()} == {
            "README.md",
            "app.py",
            "requirements.txt",
            "tests.py",
            f"{name}.py",
        }
        front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
        assert front["sdk"] == "gradio" and front["app_file"] == "app.py" and {"evaluate", "metric"} <= set(front["tags"])
    with pytest.raises(UsageError, match="did you mean membership_leakage"):
        modules.path("membership_leak")


@pytest.mark.parametrize("name", modules.names())
def test_each_gives_what_its_cases_say(name: str) -> None:
    evaluate = pytest.importorskip("evaluate")
    metric = evaluate.load(modules.path(name))
    for case in runpy.run_path(str(Path(modules.path(name)) / "tests.py"))["test_cases"]:
        found: dict[str, Any] = metric.compute(predictions=case["predictions"], references=case["references"])
        expected = {key: value if value is None else pytest.approx(value) for key, value in case["result"].items()}
        assert {key: found[key] for key in expected} == expected


def test_a_metric_as_a_space(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    from securitynet.cli import main

    repo = "tester/membership_leakage"
    assert main(["push", "metric", "membership_leakage", "--to", repo]) == 0
    assert hub.repo("spaces", repo).sdk == "gradio"
    assert main(["push", "metric", "membership_leakage", "--to", repo]) == 0
    assert "nothing new" in capsys.readouterr().out
    evaluate = pytest.importorskip("evaluate")
    metric = evaluate.load(repo, module_type="metric")
    assert metric.compute(predictions=[0.9, 0.8, 0.3, 0.1], references=[1, 1, 0, 0])["auc"] == 1.0
    assert main(["push", "metric", "membership_leakage", "--to", "tester/other"]) == 2
    assert "must be ORG/membership_leakage" in capsys.readouterr().err
