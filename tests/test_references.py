"""Reference models: the pool and its halves, the cache, what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from reference_case import QUICK, SETTINGS, splits, workshop
from torch import nn

from securitynet.attacks.membership._formulas import log_likelihood
from securitynet.attacks.membership._perturbed import Shifted
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, draw
from securitynet.data.transform import Transform
from securitynet.errors import Skipped, TrainingError, UsageError
from securitynet.references import References, ReferenceSettings, reference_answers
from securitynet.references.fit import Job, Workshop
from securitynet.references.maker import Maker
from securitynet.references.networks import blueprint, create
from securitynet.references.pool import Pool, halves
from securitynet.target import Outputs
from securitynet.training import Recipe


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("n", [40, 41])
def test_each_pair_of_models_holds_each_sample_once(n: int) -> None:
    held = halves(n, 6, seed=3)
    assert held.shape == (n, 6) and (held.reshape(n, 3, 2).sum(axis=2) == 1).all()
    assert (held.sum(axis=0) - n // 2).max() <= n % 2
    assert not np.array_equal(held[:, 0], held[:, 2]) and not np.array_equal(held, halves(n, 6, seed=4))
    for fewer in range(1, 6):
        assert np.array_equal(held[:, :fewer], halves(n, fewer, seed=3))


def test_halves_are_nobody_elses() -> None:
    """Members drawn with an equal seed, as those of the built-in models are, must not be the half of a reference model."""
    held = halves(1000, 8, seed=0)
    for entropy in (0, [0, 0], 1, [0, 1], [1, 0]):
        drawn = np.zeros(1000, bool)
        drawn[np.random.default_rng(entropy).permutation(1000)[:500]] = True
        assert (np.abs((held & drawn[:, None]).sum(axis=0) - 250) < 50).all()


def test_models_are_trained_once_and_serve_every_count(accelerator: Accelerator, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "securitynet")
    four = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    assert four.logits.shape == (4, 200, 10) and four.logits.dtype == np.float32
    assert [record.message for record in caplog.records if "training 4 reference models" in record.message]
    caplog.clear()
    again = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    two = reference_answers(splits(), replace(SETTINGS, count=2), accelerator, ArrayCache(tmp_path))
    assert not caplog.records
    assert np.array_equal(again.logits, four.logits) and np.array_equal(again.held, four.held)
    assert np.array_equal(two.logits, four.logits[:2]) and np.array_equal(two.held, four.held[:, :2])
    six = reference_answers(splits(), replace(SETTINGS, count=6), accelerator, ArrayCache(tmp_path))
    assert "training 2 reference models" in caplog.text and np.array_equal(six.logits[:4], four.logits)


def test_models_know_what_they_hold(accelerator: Accelerator) -> None:
    """The mask says the truth about the training sets, in the order of members, then non-members."""
    case = splits()
    settings = ReferenceSettings(count=2, recipe=Recipe(epochs=20, batch_size=16, optimiser="adamw", learning_rate=0.01, weight_decay=0.0))
    found = reference_answers(case, settings, accelerator, ArrayCache(None))
    assert case.members is not None and case.non_members is not None
    assert np.array_equal(found.labels, np.concatenate([case.members.labels, case.non_members.labels]))
    likelihood = found.statistic(log_likelihood)
    assert likelihood.shape == (200, 2)
    assert likelihood[:, 1] == pytest.approx(log_likelihood(Outputs(found.logits[1], found.labels)))
    assert (likelihood[found.held].mean() - likelihood[~found.held].mean()) > 0.3


def test_who_is_a_member_decides_nothing(accelerator: Accelerator, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another model of the same images has the same references, in its own order of members and non-members."""
    first = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    caplog.set_level(logging.INFO, "securitynet")
    caplog.clear()  # an earlier command in this process may have set the level already
    second = reference_answers(splits(members_seed=1), SETTINGS, accelerator, ArrayCache(tmp_path))
    assert not caplog.records
    sorted_first, sorted_second = (np.argsort(Pool.of(splits(members_seed=seed)).origin[1]) for seed in (0, 1))
    assert not np.array_equal(sorted_first, sorted_second)
    assert np.array_equal(first.logits[:, sorted_first], second.logits[:, sorted_second])
    assert np.array_equal(first.held[sorted_first], second.held[sorted_second])
    assert np.array_equal(first.labels[sorted_first], second.labels[sorted_second])


def test_whatever_decides_the_answers_is_in_the_key(accelerator: Accelerator) -> None:
    case = splits()
    assert case.members is not None
    pool = Pool.of(case)

    def key(pool: Pool = pool, settings: ReferenceSettings = SETTINGS, index: int = 0) -> str:
        held = halves(len(pool), index + 1, settings.seed)[:, index]
        return Maker(pool, settings, accelerator, ArrayCache(None)).job(index, held).key

    relabelled = replace(case, members=replace(case.members, labels=(case.members.labels + 1) % 10))
    keys = {
        key(),
        key(index=1),
        key(Pool.of(splits(198))),
        key(Pool.of(relabelled)),
        key(settings=replace(SETTINGS, seed=1)),
        key(settings=replace(SETTINGS, architecture="timm:resnet10t")),
        key(settings=replace(SETTINGS, recipe=replace(QUICK, epochs=4))),
    }
    assert len(keys) == 7
    assert key(settings=replace(SETTINGS, count=64)) == key()


def test_an_interrupted_call_goes_on_with_the_next_model(accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(None))
    fitted: list[int] = []
    plain = Workshop.fit

    def fit(self: Workshop, group: list[Job], *args: object, **named: object) -> list[nn.Module]:
        if len(fitted) == 3:
            fitted.append(-1)
            raise KeyboardInterrupt
        fitted.append(group[0].index)
        return plain(self, group, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Workshop, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    resumed = reference_answers(splits(), SETTINGS, accelerator, ArrayCache(tmp_path))
    assert fitted == [0, 1, 2, -1, 3] and np.array_equal(resumed.logits, whole.logits)
    assert not list((tmp_path / "training").glob("*"))


def test_answers_about_changed_images_come_from_the_stored_models(
    accelerator: Accelerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, settings = splits(), replace(SETTINGS, count=2)
    plain = reference_answers(case, settings, accelerator, ArrayCache(tmp_path))

    def never(self: Workshop, *args: object, **named: object) -> list[nn.Module]:
        raise AssertionError("trained again")

    monkeypatch.setattr(Workshop, "fit", never)
    flipped = reference_answers(case, settings, accelerator, ArrayCache(tmp_path), lambda module: Shifted(module, flip=True))
    still = reference_answers(case, settings, accelerator, ArrayCache(tmp_path), lambda module: Shifted(module))
    assert np.abs(flipped.logits - plain.logits).max() > 0.01
    assert np.array_equal(still.logits, plain.logits)


@pytest.mark.parametrize("missing", ["members", "volumes", "few"])
def test_splits_that_cannot_serve_are_skipped_with_the_reason(missing: str, accelerator: Accelerator) -> None:
    case, reason = splits(), "training and test images"
    if missing == "members":
        case = replace(case, members=None, missing="no training images available")
    elif missing == "volumes":
        volumes = ArrayImages(np.zeros((20, 4, 4, 4), np.uint8), np.zeros(20))
        case = draw(ImageSet("volumes", volumes, volumes), Transform((1, 4, 4, 4)), 2)
        reason = r"images \[c, h, w\]"
    else:
        case, reason = splits(6), "at least eight images"
    with pytest.raises(Skipped, match=reason):
        reference_answers(case, SETTINGS, accelerator, ArrayCache(None))


def test_bad_settings_are_refused(accelerator: Accelerator) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        ReferenceSettings(count=0)
    with pytest.raises(UsageError, match="patience"):
        ReferenceSettings(recipe=Recipe(patience=3))
    with pytest.raises(UsageError, match="clip cannot be used"):
        ReferenceSettings(recipe=Recipe(clip=1.0))
    for name in ("resnet10t", "timm:resnet10x", "elsewhere:net"):
        with pytest.raises(UsageError, match=r"reference models: .*architecture"):
            reference_answers(splits(), ReferenceSettings(architecture=name), accelerator, ArrayCache(None))


def test_a_diverged_model_is_an_error(accelerator: Accelerator) -> None:
    wild = replace(SETTINGS, recipe=Recipe(epochs=3, optimiser="sgd", learning_rate=1e30))
    with pytest.raises(TrainingError, match="diverged"):
        reference_answers(splits(), wild, accelerator, ArrayCache(None))
    pool = Pool.of(splits())
    work, jobs = workshop(pool, accelerator)
    wild_jobs = [replace(job, recipe=replace(wild.recipe, seed=job.index)) for job in jobs]
    with pytest.raises(TrainingError, match="diverged"):
        work.fit(wild_jobs)


def test_large_images_get_a_larger_network() -> None:
    small, large = blueprint("auto", None, (3, 32, 32), 10), blueprint("auto", None, (3, 224, 224), 10)
    assert small.architecture == large.architecture == "timm:resnet10t" and small.arguments["in_chans"] == 3
    sizes = [sum(parameter.numel() for parameter in create(record, 0).parameters()) for record in (small, large)]
    assert sizes[0] < 100_000 < 1_000_000 < sizes[1]


def test_references_are_json_in_the_parameters() -> None:
    from securitynet.attacks.membership.lira import Lira
    from securitynet.attacks.protocols import params_of

    assert json.loads(params_of(Lira(SETTINGS)))["references"]["recipe"]["epochs"] == 2
    assert json.loads(params_of(Lira(8)))["references"] == 8


def test_the_statistic_is_of_every_model() -> None:
    logits = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    found = References(logits, np.zeros((3, 2), bool), np.array([0, 1, 0]))
    assert found.statistic(lambda outputs: outputs.logits[:, 0]).tolist() == [[0, 6], [2, 8], [4, 10]]
