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
