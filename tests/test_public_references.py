"""Reference models taken from the catalog: what others trained calibrates an attack, and the row says what is assumed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from scipy.special import log_softmax
from torch import nn

import securitynet
from securitynet.attacks.membership.attack_r import AttackR
from securitynet.attacks.membership.base import Base
from securitynet.attacks.membership.lira import Lira
from securitynet.attacks.membership.log_ratio import LogRatio
from securitynet.attacks.membership.rmia import Rmia
from securitynet.attacks.membership.student_t import StudentT
from securitynet.cache import ArrayCache
from securitynet.data import Splits, draw
from securitynet.data.digits import image_set
from securitynet.data.transform import Transform
from securitynet.errors import Skipped, UsageError
from securitynet.references.public import Public, public_answers
from securitynet.target import Target, query


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Public:
    """Two public models whose records do not say what they were trained on."""
    found = []
    for name in ("digits-regular", "digits-regularised"):
        folder = tmp_path_factory.mktemp("models") / name
        shutil.copytree(Path(str(resources.files("securitynet.catalog"))) / "builtin" / name, folder)
        (folder / "README.md").unlink()
        found.append(str(folder))
    return Public(tuple(found))


@pytest.fixture(scope="module")
def overfit(tmp_path_factory: pytest.TempPathFactory) -> Target:
    target = securitynet.load_model("builtin/digits-overfit")
    return replace(target, cache=ArrayCache(tmp_path_factory.mktemp("cache") / "outputs"))


@pytest.fixture(scope="module")
def splits(overfit: Target) -> Splits:
    return draw(image_set(overfit.entry, overfit.folder), Transform.of(overfit.entry), 10, samples=60)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def test_answers_are_those_of_the_models(overfit: Target, splits: Splits, accelerator: Accelerator, others: Public) -> None:
    found = public_answers(others, splits, accelerator, overfit.cache)
    assert found.logits.shape == (2, 120, 10) and not found.held.any()
    for name, logits in zip(others.models, found.logits, strict=True):
        parts = [query(securitynet.load_model(name), part, accelerator).logits for part in (splits.members, splits.non_members) if part]
        assert np.array_equal(logits, np.concatenate(parts))
    changed = public_answers(others, splits, accelerator, overfit.cache, lambda module: nn.Sequential(module, nn.Tanh()))
    assert np.allclose(changed.logits, np.tanh(found.logits), atol=1e-6)


def test_the_log_ratio_by_hand(overfit: Target, splits: Splits, accelerator: Accelerator, others: Public) -> None:
    found = public_answers(others, splits, accelerator, overfit.cache)
    own = np.concatenate([query(overfit, part, accelerator).logits for part in (splits.members, splits.non_members) if part])
    rows = np.arange(120)
    log_p = [log_softmax(logits.astype(np.float64), axis=1)[rows, found.labels] for logits in (own, *found.logits)]
    outside = np.exp(log_p[1:]).mean(axis=0)
    expected = log_p[0] - np.log((1.33 * outside + 0.67) / 2)
    evidence = LogRatio(others, online=False)(overfit, splits, accelerator)
    assert np.concatenate([evidence.members, evidence.non_members]) == pytest.approx(expected, abs=1e-9)


def test_every_offline_attack_takes_them_and_says_so(overfit: Target, splits: Splits, accelerator: Accelerator, others: Public) -> None:
    for attack in (
        Lira(others, False),
        Rmia(others, False),
        LogRatio(others, False),
        Base(others),
        StudentT(others, False),
        AttackR(others),
    ):
        evidence = attack(overfit, splits, accelerator)
        area = evidence.metrics()[0]
        assert area.metric == "auc" and area.value is not None and area.value > 0.5
        assert f"taken from the catalog ({', '.join(others.models)})" in str(area.reason)
        assert "assumed not to have been trained on these images" in str(area.reason)


def test_the_row_keeps_the_assumption(tmp_path: Path, others: Public) -> None:
    attacks = [LogRatio(others, online=False)]
    result = securitynet.evaluate("builtin/digits-overfit", attacks=attacks, samples=60, cache_dir=tmp_path)
    row = next(row for row in result.rows if row.family == "membership" and row.metric == "auc")
    assert row.status == "ok" and "assumed" in str(row.reason) and "digits-regularised" in row.params


def test_what_cannot_serve(overfit: Target, splits: Splits, accelerator: Accelerator, others: Public) -> None:
    for attack in (Lira(others), Rmia(others), LogRatio(others), StudentT(others)):
        with pytest.raises(Skipped, match="online=False"):
            attack(overfit, splits, accelerator)
    with pytest.raises(Skipped, match="knows 10 classes, the model under test 7"):
        Base(others)(overfit, replace(splits, num_classes=7), accelerator)
    with pytest.raises(UsageError, match="name at least one"):
        Public(())
    with pytest.raises(UsageError, match="did you mean builtin/digits-regular"):
        Base(Public(("builtin/digits-regula",)))(overfit, splits, accelerator)


def test_a_model_of_the_same_training_images_is_refused(overfit: Target, splits: Splits, accelerator: Accelerator) -> None:
    with pytest.raises(Skipped, match="by its record it was trained on digits, as the model under test was"):
        Base(Public(("builtin/digits-regular",)))(overfit, splits, accelerator)


def test_the_row_says_how_well_references_match(overfit: Target, splits: Splits, accelerator: Accelerator, others: Public) -> None:
    found = public_answers(others, splits, accelerator, overfit.cache)
    right = float((found.logits.argmax(axis=2) == found.labels).mean())
    reason = str(Base(others)(overfit, splits, accelerator).metrics()[0].reason)
    assert f"references are right on {right:.1%}; the model on 100.0% of members" in reason
    trained = str(LogRatio(2)(overfit, splits, accelerator).metrics()[0].reason)
    assert "of what they held" in trained and "gap" in trained
