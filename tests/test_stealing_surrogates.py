"""Surrogates that start from public weights, at their own size; frozen features; the control of one who owns the pool's labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from stolen import SMALL, Counting, splits_of, target_module, target_of
from torch import nn

from securitynet.attacks.stealing import _surrogates as surrogates
from securitynet.attacks.stealing._copier import Copier, mirrored
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.entry import Entry
from securitynet.errors import DownloadError
from securitynet.loaders import load_model
from securitynet.metrics.means import bounded, over_models
from securitynet.target import Target, build, query
from securitynet.training import Recipe

HEAD = Recipe(epochs=20, batch_size=32, learning_rate=0.05, temperature=2.0)
FROZEN = replace(SMALL, surrogate="frozen:builtin/digits-regular", surrogate_args=None, recipe=HEAD)


@pytest.fixture(scope="module")
def thief() -> Thief:
    target = target_of(target_module())
    return Thief.of(target, splits_of(target), Accelerator(cpu=True), FROZEN)


def test_only_the_head_of_frozen_features_learns(thief: Thief) -> None:
    positions = np.arange(200)
    start, fitted = thief.fresh(), thief.fit(positions, thief.answer(positions))
    before, after = (one.module.state_dict() for one in (start, fitted))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(".head." in name for name in changed)
    features = surrogates.features_target(fitted)
    assert features is not None and surrogates.features_target(thief.target) is None
    found = query(features, thief.test, thief.accelerator).logits
    with torch.inference_mode():
        logits = surrogates.head_of(fitted)(torch.from_numpy(found)).numpy()
    np.testing.assert_allclose(thief.outputs(fitted).logits, logits, atol=1e-4)
    control = thief.outputs(thief.fit(positions, thief.labels(positions))).predictions
    assert (control == thief.test.images.labels).mean() > 0.4, "public features of digits tell quarters apart, above chance of .25"


def test_frozen_features_are_computed_once_per_image(thief: Thief, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    forward = surrogates.Resized.forward

    def counted(self: surrogates.Resized, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return forward(self, pixels)

    monkeypatch.setattr(surrogates.Resized, "forward", counted)
    positions = np.arange(300, 360)
    thief.fit(positions, thief.answer(positions))
    first = sum(seen)
    thief.fit(positions, thief.labels(positions), 1)
    assert 60 <= first <= 64 + 2 and sum(seen) == first, "whatever the epochs, labels and seeds"


def test_a_transformer_of_fixed_size_sees_enlarged_images() -> None:
    target = target_of(target_module())
    target = replace(target, entry=replace(target.entry, input_size=(3, 32, 32)))
    arguments = '{"depth": 1, "embed_dim": 24, "num_heads": 2}'
    made = surrogates.surrogate("timm:vit_tiny_patch16_224", arguments, target, 0)
    assert made.module(torch.rand(2, 3, 32, 32)).shape == (2, 4)
    assert isinstance(made.module[1][0], surrogates.Resized) and made.module[1][0].size == (224, 224)  # type: ignore[index]


def large() -> Target:
    return build(Entry(id="test/large", num_classes=7, input_size=(3, 96, 96)), nn.Sequential(nn.Flatten(), nn.Linear(3 * 96 * 96, 7)))


def test_images_of_imagenets_size_start_from_public_weights(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where they can be had; where not, a network from scratch is trained and the log names the reason."""
    public = load_model("builtin/digits-regular")

    def given(name: str, **rest: object) -> Target:
        assert name == surrogates.PUBLIC
        return replace(public, entry=replace(public.entry, input_size=(3, 32, 32)))

    monkeypatch.setattr("securitynet.loaders.load_model", given)
    made = surrogates.surrogate("auto", None, large(), 0)
    assert any(isinstance(part, surrogates.Resized) for part in made.module.modules())

    def offline(name: str, **rest: object) -> Target:
        raise DownloadError("no network")

    monkeypatch.setattr("securitynet.loaders.load_model", offline)
    made = surrogates.surrogate("auto", None, large(), 0)
    assert made.module(torch.rand(2, 3, 96, 96)).shape == (2, 7) and "no network" in caplog.text


def test_only_small_colour_photographs_are_mirrored() -> None:
    assert mirrored("CIFAR-10", (3, 32, 32)) and mirrored("cifar100", (3, 32, 32))
    assert not any(mirrored(dataset, (3, 32, 32)) for dataset in ("SVHN", "GTSRB", None))
    assert not mirrored("MNIST", (1, 28, 28)) and not mirrored("CIFAR-10", (3, 224, 224))
    target = target_of(target_module())
    target = replace(target, entry=replace(target.entry, dataset="CIFAR-10", input_size=(3, 32, 32)))
    for augment, expected in ((True, (4, True)), (False, (0, False))):
        recipe = Copier(target, Accelerator(cpu=True), Settings(augment=augment), 0)._recipe(100, 0)
        assert (recipe.shift, recipe.flip) == expected


def test_who_owns_the_labels_of_the_pool_sends_no_query() -> None:
    counting = Counting(target_module())
    target = target_of(counting)
    attack = Knockoff(budgets=(20,), settings=replace(SMALL, repeats=3, price=1.5, public="builtin/digits-regular"))
    evidence = attack(target, splits_of(target), Accelerator(cpu=True))
    found = {one.metric: one for one in evidence.metrics()}
    assert evidence.queries == 20 and evidence.pool is not None and (evidence.pool.images, evidence.pool.pool) == (400, 400)
    classes, pool = evidence.target.predictions, evidence.pool.logits.argmax(2)
    owner, same = pool == classes, evidence.copies[0].predictions == classes
    assert found["pool_agreement"].value == pytest.approx(owner.mean())
    assert found["pool_accuracy"].value == pytest.approx((pool == evidence.target.labels).mean())
    assert found["excess_over_pool"].value == pytest.approx(same.mean() - owner.mean())
    assert found["excess_over_pool"].reason == "above the true labels of 400 images of the pool"
    assert found["query_price"].value == pytest.approx(20 * 1.5 / 1000)
    assert found["frozen_agreement"].n == 200 and found["agreement"].ci_method == "Student's t over images and seeds"


def test_an_interval_of_three_seeds_holds_the_mean_over_seeds_and_images() -> None:
    """2,000 draws of three networks whose accuracy varies with the seed: given the networks alone, the interval misses far more often."""
    rng, covered, alone = np.random.default_rng(0), [], []
    for _ in range(2000):
        levels = 0.8 + 0.02 * rng.normal(size=(3, 1))
        values = (rng.random((3, 1000)) < levels).astype(float)
        both, one = over_models("x", values, 0.0, 1.0), bounded("x", values.mean(axis=0), 0.0, 1.0)
        covered.append(both.ci_low <= 0.8 <= both.ci_high)  # type: ignore[operator]
        alone.append(one.ci_low <= 0.8 <= one.ci_high)  # type: ignore[operator]
    assert np.mean(covered) >= 0.95 and np.mean(alone) < 0.8
    assert over_models("x", values[:2], 0.0, 1.0).ci_method == "Student's t, adjusted, given 2 surrogates"
