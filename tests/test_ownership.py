"""Ownership: copies share what is peculiar to a victim, independent models do not; the p-value is uniform where it should be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from scipy import stats
from scipy.special import softmax
from stolen import SMALL, splits_of, target_module, target_of

import securitynet.ownership as module
from securitynet.attacks.stealing._thief import Thief
from securitynet.cli import main
from securitynet.errors import UsageError
from securitynet.metrics.ownership import dataset_inference, fingerprint
from securitynet.ownership import LEVEL, Ownership, ownership

N, K = 300, 5


def drawn(rng: np.random.Generator, task: np.ndarray, own: float = 1.0) -> np.ndarray:
    """Probabilities of a model: the task, which all know, and what is peculiar to it."""
    return softmax(task + own * rng.normal(size=(N, K)), axis=1)


def test_independent_models_are_called_copies_at_the_level() -> None:
    """400 families of victim, suspect and nine references: the p-values are uniform."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(400):
        task = 2 * rng.normal(size=(N, K))
        victim, suspect, *references = (drawn(rng, task) for _ in range(11))
        p.append(fingerprint(victim, suspect, references).p_value)
    assert 0.02 < (np.asarray(p) <= LEVEL).mean() < 0.08 and stats.kstest(p, "uniform").pvalue > 1e-3


def test_a_model_that_learned_from_the_victim_is_found() -> None:
    rng = np.random.default_rng(1)
    task, peculiar = 2 * rng.normal(size=(N, K)), rng.normal(size=(N, K))
    references = [drawn(rng, task) for _ in range(9)]
    victim = softmax(task + peculiar, axis=1)
    near, labels = drawn(rng, task + 0.5 * peculiar), np.eye(K)[victim.argmax(1)]
    assert fingerprint(victim, near, references).p_value < 1e-4 and fingerprint(victim, labels, references).p_value < 1e-4
    assert fingerprint(victim, victim, references).statistic == pytest.approx(1)
    with pytest.raises(UsageError, match="3 reference models are too few"):
        fingerprint(victim, near, references[:3])
    with pytest.raises(UsageError, match="same classes"):
        fingerprint(victim, near[:, :3], references)


def test_dataset_inference_is_welchs_test_of_margins() -> None:
    rng = np.random.default_rng(2)
    sure, unsure = (softmax(scale * rng.normal(size=(200, 3)), axis=1) for scale in (4, 2))
    labels = sure.argmax(1), unsure.argmax(1)
    margins = [np.diff(np.sort(one, axis=1)[:, -2:], axis=1)[:, 0] for one in (sure, unsure)]
    expected = stats.ttest_ind(*margins, equal_var=False, alternative="greater").pvalue
    assert dataset_inference(sure, labels[0], unsure, labels[1]) == pytest.approx(expected)


def test_a_surrogate_is_a_copy_of_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRAINED", SMALL.recipe)
    target, accelerator = target_of(target_module()), Accelerator(cpu=True)
    splits = splits_of(target)
    thief = Thief.of(target, splits, accelerator, SMALL)
    positions = np.arange(300)
    surrogate = thief.fit(positions, thief.answer(positions), 50)
    references = module.trained(thief, 6)
    found = ownership(target, surrogate, splits, accelerator, references)
    assert found.copied and found.n == 200 and len(found.references) == 6 and found.data_p_value is not None
    weak = replace(thief, settings=replace(SMALL, least_steps=1, recipe=replace(SMALL.recipe, epochs=1)))
    unlike = ownership(target, surrogate, splits, accelerator, module.trained(weak, 6))
    assert unlike.doubt is not None and "name references trained as it was" in unlike.doubt and not unlike.copied
    independent = ownership(target, module.trained(thief, 7)[-1], splits, accelerator, references)
    assert independent.p_value > found.p_value
    assert json.loads(json.dumps(found.to_record()))["copied"] is True


def test_the_command_shows_one_p_value_and_its_assumption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    seen: dict[str, object] = {}

    def given(victim: str, suspect: str, **rest: object) -> Ownership:
        seen.update(rest)
        return Ownership(victim, suspect, 0.003, 0.4, (0.1, 0.12, 0.09, 0.11), 0.95, 0.2, 1000)

    monkeypatch.setattr(module, "ownership_of", given)
    assert main(["compare", "--ownership", "a", "b", "--references", "12", "--seed", "3"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "b is like a copy of a: p = 0.003" in text and "valid where an independent suspect" in text
    assert seen == {"data": None, "references": 12, "seed": 3}
    assert main(["compare", "--ownership", "a", "b", "--references", "c", "d", "e", "f", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["p_value"] == 0.003 and seen["references"] == ["c", "d", "e", "f"]
    assert main(["compare", "--ownership", "a"]) == 2
