"""Trigger inversion: its arithmetic against plain recomputations, its schedule step by step, and what is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from planted import planted
from torch import Tensor, nn

from securitynet.attacks.backdoor._inversion import InversionSettings, recover
from securitynet.attacks.backdoor._inversion.group import Group, adam, objective, stamp, triggers
from securitynet.attacks.backdoor._inversion.halving import Race
from securitynet.attacks.backdoor._inversion.schedule import Schedule
from securitynet.attacks.backdoor._inversion.search import Search
from securitynet.attacks.backdoor._inversion.search_images import search_images
from securitynet.metrics.outliers import anomaly_index, times_smaller

CPU = torch.device("cpu")


def test_the_index_by_hand() -> None:
    """Median 10, deviations 9 2 1 0 1 2 3 with median 2: the smallest lies 9 / (1.4826 * 2) below."""
    values = [1.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0]
    assert anomaly_index(values) == pytest.approx(9 / (1.4826 * 2))
    assert anomaly_index([-value for value in values]) == pytest.approx(3 / (1.4826 * 2)), "one-sided: a large one is no outlier"
    assert times_smaller(values) == pytest.approx(np.log(10))
    assert anomaly_index([5.0, 5.0, 5.0, 90.0]) is None and anomaly_index([1.0, 2.0]) is None and times_smaller([3.0]) == 0
    assert anomaly_index([float("nan"), *values]) == anomaly_index(values)


def plain_costs(won: list[bool], patience: int, first: float) -> list[float]:
    """The cost after each step, as the paper's authors published the rule, for one class and without tensors."""
    cost, armed, up, down, costs = 0.0, 0, 0, 0, []
    for one in won:
        if cost == 0 and one:
            armed += 1
            if armed >= patience:
                cost, armed, up, down = first, 0, 0, 0
        else:
            armed = 0
        up, down = (up + 1, 0) if one else (0, down + 1)
        if up >= patience:
            up, cost = 0, cost * 2
        elif down >= patience:
            down, cost = 0, cost / 2**1.5
        costs.append(cost)
    return costs


def costs(won: Tensor, settings: InversionSettings) -> Tensor:
    schedule, seen = Schedule.start(won.shape[1], CPU), []
    for step in won:
        schedule = schedule.step(step, torch.zeros_like(step), 1e-3, settings)
        seen.append(schedule.cost)
    return torch.stack(seen)


@pytest.mark.parametrize("patience", [1, 3, 5])
def test_costs_follow_the_published_rule_class_by_class(patience: int) -> None:
    rng = np.random.default_rng(patience)
    won = torch.from_numpy(rng.random((200, 12)) < np.linspace(0.5, 0.8, 12))
    found = costs(won, InversionSettings(patience=patience))
    for one in range(12):
        assert found[:, one].tolist() == pytest.approx(plain_costs(won[:, one].tolist(), patience, 1e-3))


def test_the_cost_rises_from_zero_under_lasting_success() -> None:
    """Set after five successes; doubled after five in a row, the one that set it among them; never set without success."""
    found = costs(torch.tensor([[True, False]] * 14), InversionSettings())
    assert found[:, 0].tolist() == pytest.approx([0] * 4 + [1e-3] * 4 + [2e-3] * 5 + [4e-3])
    assert found[:, 1].tolist() == [0] * 14
    fallen = costs(torch.tensor([[True]] * 5 + [[False]] * 5), InversionSettings())
    assert fallen[-1, 0] == pytest.approx(1e-3 / 2**1.5)


def test_a_class_ends_when_the_cost_went_both_ways_and_nothing_smaller_comes() -> None:
    settings, schedule = InversionSettings(patience=2), Schedule.start(2, CPU)
    for number in range(30):
        won = torch.tensor([number < 6, True])
        schedule = schedule.step(won, torch.tensor([number == 5, False]), 1e-3, settings)
        assert schedule.ended(settings).tolist() == [number >= 15, False]


@pytest.fixture(scope="module")
def search() -> Search:
    target, splits = planted()
    settings = InversionSettings(images=32, exhaustive=True)
    return Search(target.module, search_images(target, splits, settings, Accelerator(cpu=True)), settings)


def test_loss_and_gradient_against_a_plain_recomputation(search: Search) -> None:
    group = search.start([1, 4, 5])
    generator, module = torch.Generator().manual_seed(0), search.module.double()
    images = torch.rand(3, 7, 3, 8, 8, generator=generator, dtype=torch.float64)
    raw = (2 * torch.rand(3, 4, 8, 8, generator=generator, dtype=torch.float64) - 1).requires_grad_()
    cost = torch.tensor([0.0, 1e-3, 0.5], dtype=torch.float64)
    loss, success = objective(module, images, raw, group.classes, cost)
    (gradient,) = torch.autograd.grad(loss.sum(), raw)

    def plain(values: Tensor, row: int) -> Tensor:
        mask = torch.tanh(values[0]) / (2 - 1e-7) + 0.5
        pattern = torch.tanh(values[1:]) / (2 - 1e-7) + 0.5
        total = torch.zeros((), dtype=torch.float64)
        for image in images[row]:
            answer = module(((1 - mask) * image + mask * pattern)[None])[0]
            total = total + torch.logsumexp(answer, 0) - answer[[1, 4, 5][row]]
        return total / 7 + cost[row] * mask.abs().sum()

    for row in range(3):
        assert float(loss[row].detach()) == pytest.approx(float(plain(raw[row].detach(), row)), rel=1e-5)
        for place in [(0, 0, 0), (0, 7, 7), (1, 3, 4), (3, 7, 6)]:
            shift = torch.zeros(4, 8, 8, dtype=torch.float64)
            shift[place] = 1e-3
            slope = (plain(raw[row] + shift, row) - plain(raw[row] - shift, row)) / 2e-3
            assert float(gradient[(row, *place)]) == pytest.approx(float(slope), rel=1e-3, abs=1e-7)
    module.float()
    assert success.shape == (3,) and float(success.min()) >= 0 and float(success.max()) <= 1


def test_adam_is_torch_s(search: Search) -> None:
    group = search.start([0, 2])
    plain = group.raw.clone().requires_grad_()
    optimiser = torch.optim.Adam([plain], lr=0.1, betas=(0.5, 0.9), eps=1e-7)
    for number in range(1, 6):
        gradient = torch.randn(plain.shape, generator=torch.Generator().manual_seed(number))
        plain.grad = gradient
        optimiser.step()
        group = adam(group, gradient, number, 0.1)
    torch.testing.assert_close(group.raw, plain.detach())


def test_a_trigger_is_stamped_before_normalisation(search: Search) -> None:
    image = torch.rand(2, 5, 3, 8, 8)
    found = torch.zeros(2, 4, 8, 8)
    found[:, 0, 1, 2], found[:, 1:, 1, 2] = 1.0, torch.tensor([0.2, 0.4, 0.6])
    stamped = stamp(image, found)
    torch.testing.assert_close(stamped[:, :, :, 1, 2], torch.tensor([0.2, 0.4, 0.6]).expand(2, 5, 3))
    stamped[:, :, :, 1, 2] = image[:, :, :, 1, 2]
    assert torch.equal(stamped, image)


def test_the_smallest_mask_with_success_is_kept(search: Search) -> None:
    """Not the last one, and not a smaller one that turns fewer images."""
    group, settings = search.start([3]), InversionSettings()
    sizes, rates = [0.9, 0.5, 0.1, 0.7, 0.6], [1.0, 0.99, 0.98, 1.0, 1.0]
    for size, success in zip(sizes, rates, strict=True):
        group = group._replace(raw=torch.atanh((torch.full((1, 4, 8, 8), size) - 0.5) * (2 - 1e-7)))
        group = search.judged(group, torch.tensor([success]))
    assert float(group.size[0]) == pytest.approx(0.5 * 64, rel=1e-5) and settings.success == 0.99
    assert torch.allclose(group.best, torch.full((1, 4, 8, 8), 0.5))


def plain_sequential(module: nn.Module, search: Search, one: int) -> float:
    """Neural Cleanse for one class, written down without a batch of classes: the size of the mask that is kept."""
    settings = search.settings
    raw = Group.start(torch.tensor([one]), search.shape, settings).raw[0].clone().requires_grad_()
    optimiser = torch.optim.Adam([raw], lr=settings.learning_rate, betas=(0.5, 0.9), eps=1e-7)
    order, won, best = search.pool.order(one, settings.seed), [], float("inf")
    first = settings.initial_cost * 32 * 32 / 64
    for step in range(settings.steps):
        cost, rates = [0.0, *plain_costs(won, settings.patience, first)][-1], []
        for update in range(step * settings.updates, (step + 1) * settings.updates):
            images = search.pool.pixels[order[torch.arange(update * 8, update * 8 + 8) % len(order)]]
            mask, pattern = triggers(raw)[:1], triggers(raw)[1:]
            answers = module(images * (1 - mask) + pattern * mask)
            rates.append(float((answers.argmax(1) == one).float().mean()))
            loss = nn.functional.cross_entropy(answers, torch.full((8,), one)) + cost * mask.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        won.append(sum(rates) / len(rates) >= settings.success)
        if won[-1]:
            best = min(best, float(triggers(raw)[0].detach().sum()))
    return best


def test_classes_together_find_what_a_plain_loop_finds_one_by_one() -> None:
    target, splits = planted()
    settings = InversionSettings(steps=50, updates=2, images=32, exhaustive=True)
    found = recover(target, splits, Accelerator(cpu=True), settings, [1, 2, 4])
    search = Search(target.module, search_images(target, splits, settings, Accelerator(cpu=True)), settings)
    alone = [plain_sequential(target.module, search, one) for one in (1, 2, 4)]
    assert found.sizes == pytest.approx(alone, rel=0.2) and min(alone) > 0
    assert found.backward == 3 * 50 * 2 * 8 + 2 * 3 * 8


def test_the_race_by_hand() -> None:
    sizes = np.asarray([10.0, 12, 30, 40, 50, 60, 70, 80, 90, 100])
    race = Race.start(10).reached(sizes)
    assert race.going_on().nonzero()[0].tolist() == [0, 1, 2]
    later = np.full(10, np.nan)
    later[:3] = 5, 9, 15
    race = race.reached(later)
    behind = np.median([9 / 12, 15 / 30])
    assert race.sizes == pytest.approx([5, 9, 15, *(sizes[3:] * behind)])
    assert race.going_on().nonzero()[0].tolist() == [0], "the second is 1.8 times as large"
    later[:3] = 2, np.nan, np.nan
    alone = race.reached(later)
    assert alone.sizes == pytest.approx(race.sizes), "alone, a class is compared with the others no more"
    assert alone.latest[0] == 2 and alone.going_on().nonzero()[0].tolist() == [0]


def test_a_race_without_an_outlier_ends() -> None:
    race = Race.start(43).reached(np.linspace(50, 70, 43))
    assert race.going_on().sum() == 10
    later = np.full(43, np.nan)
    later[:10] = np.linspace(40, 45, 10)
    assert not race.reached(later).going_on().any()
    early = Race.start(4).reached(np.asarray([5.0, np.nan, 9.0, 8.0]))
    assert early.going_on().tolist() == [True, False, True, True], "what was never reached does not go on"
