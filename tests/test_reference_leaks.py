"""Attacks with reference models on a model that leaks, and where there is nothing to find."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership.attack_r import AttackR
from securitynet.attacks.membership.base import Base
from securitynet.attacks.membership.lira import Lira
from securitynet.attacks.membership.log_ratio import LogRatio
from securitynet.attacks.membership.loss import Loss
from securitynet.attacks.membership.rmia import Rmia
from securitynet.attacks.membership.student_t import StudentT
from securitynet.attacks.protocols import Attack
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, draw
from securitynet.data.digits import image_set
from securitynet.data.transform import Transform
from securitynet.download import Files
from securitynet.entry import Entry
from securitynet.loaders.builtin import load
from securitynet.metrics import membership as metrics
from securitynet.references import ReferenceSettings
from securitynet.target import Target
from securitynet.training import Recipe

SMALL = '{"channels":[8,16,24,32],"in_chans":1,"stem_width":4}'
SHORT = Recipe(epochs=8, optimiser="adamw", learning_rate=0.01, weight_decay=0.0)
OFFLINE = (Lira, Rmia, LogRatio, Base, StudentT)
EVERY: tuple[Callable[..., Attack], ...] = (*OFFLINE, *(partial(attack, online=False) for attack in OFFLINE), AttackR)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture(scope="module")
def overfit() -> Target:
    """The shipped model that knows its members by heart."""
    folder = Path(str(resources.files("securitynet.catalog")))
    lines = (folder / "models" / "builtin.jsonl").read_text(encoding="utf-8").splitlines()
    record = next(record for record in map(json.loads, lines) if record["name"] == "digits-overfit")
    return replace(load(Entry.from_record(record), Files(Path("nowhere"), offline=True)), cache=ArrayCache(None))


def power(evidence: MembershipEvidence, members: np.ndarray, non_members: np.ndarray) -> float:
    """True-positive rate at a false-positive rate of 5 % on these samples."""
    value = metrics.tpr_at_fpr(evidence.members[members], evidence.non_members[non_members], 0.05).value
    assert value is not None
    return value


def test_rmia_and_offline_lira_beat_the_loss_on_the_overfit_model(overfit: Target, accelerator: Accelerator) -> None:
    """Eight smaller networks, trained for a fifteenth of the time; paired bootstrap, 95 %."""
    splits = draw(image_set(overfit.entry, overfit.folder), Transform.of(overfit.entry), 10, samples=None)
    settings = ReferenceSettings(count=8, architecture="timm:resnet10t", architecture_args=SMALL, recipe=SHORT)
    loss = Loss()(overfit, splits, accelerator)
    for attack in (Rmia(settings), Rmia(settings, online=False), Lira(settings, online=False)):
        evidence = attack(overfit, splits, accelerator)
        rng, gains = np.random.default_rng(0), []
        for _ in range(400):
            drawn = rng.integers(0, 898, 898), rng.integers(0, 899, 899)
            gains.append(power(evidence, *drawn) - power(loss, *drawn))
        assert np.quantile(gains, 0.025) > 0
        areas = [metrics.auc(found.members, found.non_members).value or 0 for found in (evidence, loss)]
        assert areas[0] > areas[1]


def test_on_images_that_the_model_never_saw_no_attack_finds_members(overfit: Target, accelerator: Accelerator) -> None:
    """Its non-members, split at random in ever new ways: one pool, so one set of references."""
    images = image_set(overfit.entry, overfit.folder)
    assert isinstance(images.train, ArrayImages) and images.members is not None
    unseen = np.setdiff1d(np.arange(len(images.train)), images.members)[:400]
    pool = ArrayImages(images.train.pixels[unseen], images.train.labels[unseen])
    settings = ReferenceSettings(count=4, architecture="timm:resnet10t", architecture_args=SMALL, recipe=replace(SHORT, epochs=5))
    found: dict[str, list[tuple[float, bool]]] = {}
    for seed in range(8):
        members = np.sort(np.random.default_rng(seed + 100).permutation(400)[:200])
        case = ImageSet("unseen", pool, pool, membership="index-file", members=members)
        splits = draw(case, Transform.of(overfit.entry), 10, seed)
        for attack in (made(settings) for made in EVERY):
            evidence = attack(overfit, splits, accelerator)
            assert isinstance(evidence, MembershipEvidence)
            area = metrics.auc(evidence.members, evidence.non_members)
            assert area.value is not None and area.ci_low is not None and area.ci_high is not None
            found.setdefault(repr(attack), []).append((area.value, area.ci_low <= 0.5 <= area.ci_high))
    assert len(found) == 11
    for values in found.values():
        assert sum(covered for _, covered in values) >= 6
        assert abs(np.mean([value for value, _ in values]) - 0.5) < 3 * 0.029 / np.sqrt(8)  # 0.029: of one AUC of 200 against 200
