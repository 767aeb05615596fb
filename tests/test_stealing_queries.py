"""Which images to ask about: selection against brute force and planted cases; adversarial and augmented images in closed form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from torch import nn

from securitynet.attacks.resolve import resolve
from securitynet.attacks.stealing import StealingEvidence
from securitynet.attacks.stealing._bandit import REWARDS, Bandit, Rewards
from securitynet.attacks.stealing._thief import Settings, Thief
from securitynet.attacks.stealing._transfer import Pgd, craft, transfer
from securitynet.attacks.stealing.adaptive import Adaptive, Urn
from securitynet.attacks.stealing.jacobian import Jacobian, augmented
from securitynet.attacks.stealing.k_center import KCenter, farthest_first
from securitynet.attacks.stealing.uncertainty import Uncertainty, most_uncertain
from securitynet.data import ArrayImages, ImageSet, Split, Splits, draw
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import Skipped, UsageError
from securitynet.target import Target, build
from securitynet.training import Recipe

ENTRY = Entry(id="test/linear", num_classes=4, input_size=(1, 8, 8))
TINY = '{"channels": [8, 8, 8, 8], "stem_width": 4, "in_chans": 1}'
RECIPE = Recipe(epochs=1, batch_size=32, learning_rate=0.05)
QUICK = Settings(surrogate="timm:resnet10t", surrogate_args=TINY, recipe=RECIPE, least_steps=2, transfer=None)


class Linear(nn.Module):
    """Logits linear in the pixels; keeps every image that it is asked about, blank ones (which fill batches up) aside."""

    def __init__(self, classes: int = 4, scale: float = 4.0, seed: int = 0) -> None:
        super().__init__()
        weight = torch.randn(classes, 64, generator=torch.Generator().manual_seed(seed)) * scale
        self.weight = nn.Parameter(weight - weight.mean(1, keepdim=True))
        self.bias = nn.Parameter(torch.zeros(classes))
        self._asked: list[bytes] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        flat = pixels.flatten(1)
        self._asked += [image.numpy().tobytes() for image in flat.detach() if image.any()]
        return flat @ self.weight.T + self.bias


def case(network: nn.Module, n: int = 80) -> tuple[Target, Splits]:
    """Noise that the network labels itself: it answers everything right."""
    pixels = np.random.default_rng(0).integers(40, 216, (2 * n, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        labels = network(torch.from_numpy(pixels)[:, None].float() / 255).argmax(1).numpy()
    images = ImageSet("noise", ArrayImages(pixels[:n], labels[:n]), ArrayImages(pixels[n:], labels[n:]))
    if isinstance(network, Linear):
        network._asked.clear()
    return build(ENTRY, network), draw(images, Transform.of(ENTRY), 4, samples=None)


@pytest.fixture(scope="module")
def linear() -> tuple[Target, Splits, Linear]:
    network = Linear()
    return *case(network), network


def test_the_most_uncertain_have_the_largest_entropy() -> None:
    p = np.random.default_rng(0).dirichlet(np.full(5, 0.3), 300)
    entropy = stats.entropy(p, axis=1)
    chosen = most_uncertain(np.log(p), 20)
    assert set(chosen) == set(np.argsort(entropy)[-20:]) and (np.diff(entropy[chosen]) <= 0).all()
    assert most_uncertain(np.log(np.full((9, 5), 0.2)), 3).tolist() == [0, 1, 2]


def test_k_center_is_the_greedy_choice_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    points, centres = rng.normal(size=(60, 3)), rng.normal(size=(5, 3))
    chosen, known = [], list(centres)
    for _ in range(15):
        away = [min(np.linalg.norm(point - centre) for centre in known) for point in points]
        chosen.append(int(np.argmax(away)))
        known.append(points[chosen[-1]])
    assert farthest_first(torch.from_numpy(points), torch.from_numpy(centres), 15).tolist() == chosen
    same = farthest_first(torch.zeros(6, 2), torch.zeros(1, 2), 6)
    assert sorted(same.tolist()) == list(range(6))
    clusters = torch.eye(8)[torch.arange(400) % 8] * 100 + torch.rand(400, 8, generator=torch.Generator().manual_seed(0))
    assert set((farthest_first(clusters, clusters[:1], 7) % 8).tolist()) == set(range(1, 8))


def test_the_bandit_follows_its_formula_and_finds_the_better_class() -> None:
    rng = np.random.default_rng(0)
    actions, values = rng.integers(0, 4, 50), rng.normal(size=50)
    bandit = Bandit(np.zeros(4))
    h, taken, mean = [0.0] * 4, [0] * 4, 0.0
    for time, (action, reward) in enumerate(zip(actions.tolist(), values.tolist(), strict=True), 1):
        bandit.learn(action, reward)
        pi = [np.exp(one) / sum(np.exp(h)) for one in h]
        mean += (reward - mean) / time
        taken[action] += 1
        for b in range(4):
            h[b] += (reward - mean) / taken[action] * ((1 - pi[b]) if b == action else -pi[b])
    assert np.allclose(bandit.preferences, h) and np.isclose(bandit.mean, values.mean())
    closed = bandit.policy(np.asarray([True, False, True, True]))
    assert closed[1] == 0 and closed.sum() == pytest.approx(1) and np.allclose(closed[[0, 2]], np.exp(np.array(h)[[0, 2]]) / closed_sum(h))
    better = Bandit(np.zeros(4))
    for _ in range(500):
        action = int(rng.choice(4, p=better.policy()))
        better.learn(action, float(action == 2) + rng.normal() * 0.1)
    assert better.policy().argmax() == 2 and better.policy()[2] > 0.5


def closed_sum(h: list[float]) -> float:
    return float(np.exp(h[0]) + np.exp(h[2]) + np.exp(h[3]))


def test_rewards_in_closed_form_and_always_finite() -> None:
    rng = np.random.default_rng(0)
    y, q = rng.dirichlet(np.ones(4), 30), np.log(rng.dirichlet(np.ones(4), 30))
    ordered = np.sort(y, axis=1)
    means = np.cumsum(y, axis=0) / np.arange(1, 31)[:, None]
    expected = {
        "cert": ordered[:, -1] - ordered[:, -2],
        "div": np.maximum(0, y - means).sum(axis=1),
        "loss": -(y * q).sum(axis=1),
    }
    for kind, values in expected.items():
        in_batches = Rewards(kind)
        assert np.allclose(np.concatenate([in_batches.of(y[:7], q[:7]), in_batches.of(y[7:], q[7:])]), values)
    each = np.stack(list(expected.values()), axis=1)
    together = Rewards("all").of(y, q)
    assert together[0] == 0  # nothing to compare the first with
    for t in range(1, 30):
        seen = each[: t + 1]
        assert together[t] == pytest.approx(((each[t] - seen.mean(axis=0)) / seen.std(axis=0)).mean())
    constant = np.tile(np.eye(4)[:1], (9, 1))
    for kind in REWARDS:  # an answer that never changes has no deviation to divide by
        assert np.isfinite(Rewards(kind).of(constant, np.log(np.maximum(constant, 1e-300)))).all()


def test_the_urn_gives_each_image_once_and_closes_empty_classes() -> None:
    classes = np.array([0, 0, 0, 7, 7, 9])
    urn = Urn.of(classes, np.array([2, 0, 5, 4, 1, 3]), seed=0)
    actions, positions = urn.draw(Bandit(np.array([9.0, 0.0, -900.0])), 6)
    assert sorted(positions.tolist()) == list(range(6)) and np.array_equal(np.array([0, 7, 9])[actions], classes[positions])
    assert [one for one in positions.tolist() if classes[one] == 0] == [2, 0, 1]


@pytest.mark.parametrize("reward", REWARDS)
def test_adaptive_selection_works_with_batch_norm_and_is_no_copy_of_random(reward: str, linear: tuple[Target, Splits, Linear]) -> None:
    target, splits, _ = linear
    for answers in ("probabilities", "labels"):
        attack = Adaptive(reward=reward, batch=16, settings=replace(QUICK, answers=answers))
        thief = Thief.of(target, splits, Accelerator(), attack.settings)
        assert any(isinstance(part, nn.BatchNorm2d) for part in thief.fresh().module.modules())
        order = attack.order(thief, 65)  # the last batch is a single image
        assert len(set(order.tolist())) == 65 == thief.queries
        assert not np.array_equal(order, thief.pool.order(thief.seed)[:65])
        again = Thief.of(target, splits, Accelerator(), attack.settings)
        assert np.array_equal(attack.order(again, 32), order[:32])


class Unsure(nn.Module):
    """Certain about images brighter than average, undecided about the others."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        bright = pixels.flatten(1).mean(1, keepdim=True) > 0.5
        return torch.where(bright, torch.tensor([[8.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 4))


def test_adaptive_selection_finds_the_class_that_pays() -> None:
    n, rng = 400, np.random.default_rng(0)
    labels = rng.integers(0, 4, 2 * n)
    pixels = (rng.integers(0, 100, (2 * n, 8, 8)) + 150 * (labels == 3)[:, None, None]).astype(np.uint8)
    images = ImageSet("planted", ArrayImages(pixels[:n], labels[:n]), ArrayImages(pixels[n:], labels[n:]))
    target, splits = build(ENTRY, Unsure()), draw(images, Transform.of(ENTRY), 4, samples=None)
    thief = Thief.of(target, splits, Accelerator(), QUICK)
    asked = Adaptive(reward="cert", batch=16, settings=QUICK).order(thief, 160)
    share = (thief.pool.split.labels[asked] == 3).mean()
    random = (thief.pool.split.labels[thief.pool.order(0)[:160]] == 3).mean()
    assert share > random + 0.1


def sets(evidence: StealingEvidence) -> list[set[int]]:
    asked = evidence.manifest["query_indices"]
    return [set(asked[: copy.budget].tolist()) for copy in evidence.copies]


@pytest.mark.parametrize("kind", [Uncertainty, KCenter, Adaptive])
def test_selected_queries_nest_and_are_counted(kind: Any) -> None:
    network = Linear()
    target, splits = case(network)
    evidence = kind(budgets=(20, 45, 500), settings=QUICK)(target, splits, Accelerator())
    assert [copy.budget for copy in evidence.copies] == [20, 45, 80] and [len(one) for one in sets(evidence)] == [20, 45, 80]
    assert evidence.queries == 80 and len(network._asked) == 80 + 80  # and the images of the evaluation
    names = [(one.metric, one.budget) for one in evidence.metrics()]
    assert len(names) == len(set(names)) and {("agreement", 80), ("agreement", 20), ("excess_agreement", 80)} <= set(names)


def test_active_rounds_ask_what_the_last_copy_is_unsure_about(linear: tuple[Target, Splits, Linear]) -> None:
    target, splits, _ = linear
    evidence = Uncertainty(budgets=(40, 60), settings=QUICK)(target, splits, Accelerator())
    thief = Thief.of(target, splits, Accelerator(), QUICK)
    asked = evidence.manifest["query_indices"]
    assert np.array_equal(asked[:40], thief.pool.order(0)[:40])
    copy, left = evidence.copies[0].surrogates[0], np.setdiff1d(np.arange(80), asked[:40])
    entropy = stats.entropy(np.exp(thief.outputs(copy, left).log_probabilities), axis=1)
    assert set(asked[40:]) == set(left[np.argsort(entropy)[-20:]])
    features = KCenter(budgets=(40, 60), space="features", settings=QUICK)(target, splits, Accelerator())
    assert len(sets(features)[-1]) == 60 and sets(features)[-1] != sets(evidence)[-1]


def test_what_cannot_work_says_so(linear: tuple[Target, Splits, Linear]) -> None:
    target, splits, _ = linear
    with pytest.raises(Skipped, match="with classes"):
        Adaptive(settings=Settings(pool="noise"))(target, splits, Accelerator())
    with pytest.raises(Skipped, match="needs 500 images"):
        Jacobian(seeds=500)(target, splits, Accelerator())
    with pytest.raises(UsageError, match="at least two queries"):
        Uncertainty(budgets=(1,))(target, splits, Accelerator())
    for wrong in (lambda: Adaptive(reward="best"), lambda: KCenter(space="pixels"), lambda: Jacobian(step=0), lambda: Pgd(epsilon=0)):
        with pytest.raises(UsageError):
            wrong()
    names = {type(attack).__name__ for attack in resolve("stealing:full")}
    assert {"Uncertainty", "KCenter", "Adaptive", "Jacobian"} <= names


def test_jacobian_steps_are_those_of_a_linear_model() -> None:
    network = Linear(classes=2)
    images = torch.randint(0, 256, (50, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    classes = torch.arange(50) % 2
    slope = (network.weight[0] - network.weight[1]).detach().sign().view(1, 1, 8, 8)
    towards = torch.where(classes.view(-1, 1, 1, 1) == 0, slope, -slope)
    expected = (images.int() + 26 * towards.int()).clamp(0, 255)
    assert torch.equal(augmented(network, images, classes, 26, torch.device("cpu")).int(), expected)


@pytest.mark.parametrize("answers", ["probabilities", "labels"])
def test_jacobian_doubles_its_images_and_counts_them(answers: str) -> None:
    network = Linear()
    target, splits = case(network)
    evidence = Jacobian(seeds=12, rounds=3, settings=replace(QUICK, answers=answers))(target, splits, Accelerator())
    assert [copy.budget for copy in evidence.copies] == [12, 24, 48, 96]
    assert evidence.queries == 96 and len(set(network._asked)) == len(network._asked) <= 96 + 80  # two that come out equal are sent once
    assert all(copy.controls is not None for copy in evidence.copies)


def test_transfer_of_a_linear_model_to_itself_is_its_margin() -> None:
    network = Linear(classes=2, scale=1.0)
    n = 300
    pixels = np.random.default_rng(0).integers(60, 196, (n, 8, 8), dtype=np.uint8)
    margin = (torch.from_numpy(pixels).float().flatten(1) / 255 @ (network.weight[0] - network.weight[1])).detach().numpy()
    labels = (margin < 0).astype(np.int64)
    target = build(Entry(id="test/two", num_classes=2, input_size=(1, 8, 8)), network)
    part = Split("test", ArrayImages(pixels, labels), np.arange(n), labels, Transform((1, 8, 8)))
    reach = float((network.weight[0] - network.weight[1]).abs().sum().detach()) * 4 / 255
    found = transfer(target, target, part, Accelerator(), Pgd(epsilon=4, steps=8, step=2.0, images=n))
    expected = int((np.abs(margin) < reach).sum())
    assert found.n == n and found.queries == 2 * n and abs(found.fooled - expected) <= 2 and found.copy == found.fooled
    assert 0 < found.noise < found.fooled < n
    rate = found.estimates()[0]
    exact = stats.binomtest(found.fooled, n).proportion_ci(0.95, "exact")
    assert rate.metric == "transfer_rate" and (rate.ci_low, rate.ci_high) == pytest.approx((exact.low, exact.high))


def test_transfer_counts_only_what_was_right_and_needs_a_copy_like_the_target() -> None:
    network, other = Linear(scale=1.0), Linear(scale=1.0, seed=1)
    target, splits = case(network, 300)
    assert splits.test is not None
    wrong = np.arange(300) < 50
    labels = np.where(wrong, (splits.test.labels + 1) % 4, splits.test.labels)
    part = Split("test", splits.test.images, splits.test.indices, labels, splits.test.transform)
    settings = Pgd(epsilon=6, steps=10, images=500)
    own, foreign = (transfer(copy, target, part, Accelerator(), settings) for copy in (target, build(ENTRY, other)))
    assert own.n == foreign.n == 250 and own.fooled > 3 * foreign.fooled and own.fooled > 3 * own.noise
    few = transfer(target, target, part, Accelerator(), Pgd(images=20))
    assert few.n == 20 and few.queries == 40
    none = transfer(target, target, Split("none", part.images, part.indices[:50], labels[:50], part.transform), Accelerator())
    assert none.queries == 0 and none.estimates()[0].value is None
    pixels = part.pixels(np.arange(30))
    made = craft(network, pixels, torch.from_numpy(labels[:30]), settings, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert float((made - pixels).abs().max()) <= 6 / 255 + 1e-6 and float(made.min()) >= 0 and float(made.max()) <= 1
    assert torch.allclose(made * 255, (made * 255).round(), atol=1e-4)


def test_a_theft_says_how_its_adversarial_images_fare_and_does_not_count_them() -> None:
    network = Linear()
    target, splits = case(network)
    settings = replace(QUICK, transfer=Pgd(epsilon=20, steps=2, images=30))
    evidence = Uncertainty(budgets=(20, 40), settings=settings)(target, splits, Accelerator())
    found = {one.metric: one for one in evidence.metrics() if one.metric.startswith("transfer_")}
    assert found.keys() == {"transfer_rate", "transfer_rate_noise", "transfer_rate_copy", "transfer_queries"}
    assert evidence.queries == 40 and found["transfer_queries"].value == 60 and len(network._asked) == 40 + 80 + 60
    assert found["transfer_rate"].n == 30
