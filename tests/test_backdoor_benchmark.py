"""The calibration benchmark on its smallest population: 12 clean networks and 3 of each of 4 poisons, on 8 x 8 digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DETECTORS = ("backdoor/maximum_margin", "backdoor/last_layer", "backdoor/beatrix")


def run(*options: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "backdoor.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=550).stdout


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("population")
    return folder, run("--tiny", "--output", str(folder), "--detectors", *DETECTORS, "--nulls", str(folder / "nulls.jsonl"))


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


def test_every_detector_scores_every_model_that_counts(population: tuple[Path, str]) -> None:
    folder, printed = population
    found = records(folder)
    clean = {one["model"] for one in found if one["poison"] == "clean"}
    poisoned = {one["model"]: one for one in found if one["poison"] != "clean"}
    assert len(clean) == 12 and {one["poison"] for one in poisoned.values()} == {"patch", "blended", "wanet", "input-aware"}
    assert len(found) == len(DETECTORS) * (len(clean) + len(poisoned))
    assert all(float(str(one["success"])) >= 0.8 and float(str(one["accuracy"])) > 0.85 for one in poisoned.values())
    for detector in DETECTORS:
        assert f"| {detector} | all |" in printed
    assert "| - | 0." in printed  # fewer than 60 clean models: no true-positive rate at 5 %


def test_a_second_call_makes_nothing_again(population: tuple[Path, str]) -> None:
    folder, printed = population
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*.safetensors"))]
    lines = (folder / "scores.jsonl").read_text()
    assert run("--tiny", "--output", str(folder), "--detectors", *DETECTORS) == printed
    assert before == [(path.name, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*.safetensors"))]
    assert (folder / "scores.jsonl").read_text() == lines


def test_models_and_scores_can_be_made_again(population: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's archive gives the network that its score was computed on."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from backdoor_population import models
    from backdoor_scores import Task, measure

    folder, _ = population
    model = next(one for one in models(folder / "models") if one.plan.poison == "patch" and one.counts)
    [again] = measure(Task(model, "backdoor/last_layer", None))
    [before] = [one for one in records(folder) if (one["model"], one["detector"]) == (model.plan.name, "backdoor/last_layer")]
    np.testing.assert_allclose(again["score"], before["score"])


def made(ground: str, number: int, poison: str = "clean", detector: str = "backdoor/strip", **facts: object) -> dict[str, object]:
    """A line of scores."""
    dataset, classes = {"mnist": ("MNIST", 10), "gtsrb": ("GTSRB", 43), "gtsrb30": ("GTSRB-30", 30)}[ground]
    covariates = {"accuracy": 0.9, "scale": 9.0, "boundary": 0.1, "depth": 4, "zeros": 0.0, "distinct": 999, "input_size": [1, 28, 28]}
    line: dict[str, object] = {"model": f"{ground}-{poison}-{number}", "ground": ground, "network": "badnet", "dataset": dataset}
    line |= {"classes": classes, "poison": poison, "status": "ok", "detector": detector, "params": "{}", "score": number / 10}
    return {**line, "covariates": covariates, "mask": None, **facts}


def test_the_null_file_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that were not measured stay, those that rest on fewer models do not replace others, grounds of one dataset are pooled."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from backdoor_files import nulls_of

    from securitynet.attacks.backdoor._nulls import parse

    first = nulls_of([made("mnist", number, mask=0.1) for number in range(12)])
    signs = [made(ground, number) for ground in ("gtsrb", "gtsrb30") for number in range(6)]
    both = nulls_of([*signs, *(made("mnist", number) for number in range(5))], first)
    found = parse(both.splitlines())
    assert [(null.dataset, null.classes, null.most, len(null.scores)) for null in found.scores] == [
        ("GTSRB", 30, 43, 12), ("MNIST", 10, None, 12),
    ]  # fmt: skip
    assert [(one.dataset, one.classes, one.most, len(one.networks), len(one.masks)) for one in found.populations] == [
        ("GTSRB", 30, 43, 12, 0), ("MNIST", 10, 10, 12, 12),
    ]  # fmt: skip
    assert nulls_of([], both) == both


def test_power_counts_what_is_called_suspicious_and_needs_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from backdoor_files import nulls_of, power_of

    from securitynet.attacks.backdoor.ladder import WEIGHTS

    nulls = nulls_of([made("mnist", number, detector=name) for number in range(20) for name in WEIGHTS])
    found = [made("mnist", number, "patch", name, score=score) for number, score in ((1, 50.0), (2, 0.5)) for name in WEIGHTS]
    partly = [made("mnist", 3, "patch", "backdoor/strip", score=50.0)]
    exchange = [made("mnist", number, "patch-to-all", "backdoor/universal_permutation", score=30.0) for number in (4, 5)]
    lines = [json.loads(line) for line in power_of([*found, *partly, *exchange], nulls).splitlines()]
    counts = {(one["suite"], one["mode"], one["kind"]): (one["found"], one["of"], one["level"]) for one in lines}
    assert counts[("backdoor/ladder", "all-to-one", "patch")] == (1, 2, 0.02)
    assert ("backdoor/publisher_ladder", "all-to-one", "patch") not in counts
    assert counts[("backdoor/ladder", "all-to-all", "patch")][1] == 2
