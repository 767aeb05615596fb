"""The ladder: it agrees with its exhaustive form, keeps its time, and says what it left out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from planted import planted
from signs import signs, stamped
from test_detectors import planted as built_in
from torch import Tensor, nn

from securitynet.attacks.backdoor import _classes as classes
from securitynet.attacks.backdoor import ladder
from securitynet.attacks.backdoor._classes import Measured
from securitynet.attacks.backdoor._clean import Clean, where_apart
from securitynet.attacks.backdoor._cost import passes_of
from securitynet.attacks.backdoor._inversion import InversionSettings, batching, recover
from securitynet.attacks.backdoor._inversion.batching import most
from securitynet.attacks.backdoor._inversion.group import Group
from securitynet.attacks.backdoor._inversion.search import Search
from securitynet.attacks.backdoor._kind import Kind
from securitynet.attacks.backdoor._ladder_evidence import LadderEvidence
from securitynet.attacks.backdoor._nulls import shipped
from securitynet.attacks.backdoor.ladder import Ladder
from securitynet.attacks.backdoor.neural_cleanse import NeuralCleanse
from securitynet.attacks.protocols import params_of
from securitynet.data import Splits
from securitynet.results.row import Context
from securitynet.results.verdict import verdict
from securitynet.target import Target

CPU = Accelerator(cpu=True)
Case = Callable[[], tuple[Target, Splits]]


def word(found: LadderEvidence, target: Target) -> str:
    """The verdict that an evaluation would print."""
    context = Context(target.entry.id, "0" * 64, "none", None, "0" * 64, 0, "cpu", 1, "{}")
    rows = [context.row("backdoor", "backdoor/ladder", one) for one in found.metrics()]
    said = verdict(rows, target.entry)
    assert said is not None
    return said.word


def searched(found: LadderEvidence) -> np.ndarray:
    """The classes of the stage that searched for triggers whose masks were found to the end."""
    (stage,) = [stage for stage in found.stages if stage.name == "backdoor/neural_cleanse"]
    return np.flatnonzero(np.isfinite(stage.evidence.statistics))


@pytest.mark.parametrize(
    ("case", "truth"),
    [
        (partial(built_in, "digits-badnets"), 7),
        (partial(built_in, "digits-regular"), None),
        (partial(signs, 17), 17),
        (partial(signs, None), None),
    ],
    ids=["digits-badnets", "digits-regular", "43 classes, backdoored", "43 classes, clean"],
)
def test_the_exhaustive_ladder_agrees(case: Case, truth: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class to the last step, in place of suspects and of abandoning: the same verdict, the same first candidate.

    The steps are as many as the scheduled search has at most, to save time; real models are searched to the end elsewhere.
    """
    assert InversionSettings(steps=80).rungs == InversionSettings().rungs and InversionSettings().rungs[-1] == 80
    monkeypatch.setattr(ladder, "InversionSettings", partial(InversionSettings, steps=80))
    target, splits = case()
    scheduled, exhaustive = (Ladder(exhaustive=one)(target, splits, CPU) for one in (False, True))
    assert word(scheduled, target) == word(exhaustive, target)
    assert word(scheduled, target) in ({"clean", "cannot tell"} if truth is None else {"suspicious"})
    assert len(searched(exhaustive)) == target.num_classes > len(searched(scheduled))
    if truth is not None:
        assert scheduled.best.evidence.target_class == exhaustive.best.evidence.target_class == truth
    assert not scheduled.left_out and not exhaustive.left_out


def test_the_patch_works_on_its_network_alone() -> None:
    """The planted property that the test above rests on."""
    for shortcut in (17, None):
        target, splits = signs(shortcut)
        assert splits.test is not None
        pixels = splits.test.pixels(np.arange(len(splits.test)))
        with torch.no_grad():
            plain, turned = target.module(pixels).argmax(1).numpy(), target.module(stamped(pixels)).argmax(1).numpy()
        assert (plain == splits.test.labels).mean() > 0.95
        assert (turned == 17).mean() > 0.95 if shortcut else (turned == splits.test.labels).mean() > 0.95


def bare(classes: int, size: tuple[int, ...] = (1, 8, 8)) -> tuple[Target, Splits]:
    target, splits = planted(size, classes)
    return target, replace(splits, test=None, non_members=None)


def test_the_budget_chooses_the_route_and_is_kept() -> None:
    """A thousand classes: all screens, fewer starts, or the last layer alone; what was screened only is not called clean."""
    routes_of = {Ladder().route((3, 224, 224), classes, budget).name for classes, budget in ((1000, 10**9), (5, 10**6), (10, 10**5))}
    assert routes_of == {"full"}
    assert Ladder().route((3, 224, 224), 5, 16_000).name == "economical" and Ladder().route((3, 224, 224), 1000, 16_000).name == "screening"
    target, splits = bare(1000)
    found = Ladder(budget=9_000)(target, splits, CPU)
    assert {stage.name for stage in found.stages} == {"backdoor/last_layer", "backdoor/neural_cleanse"}
    assert sum(stage.evidence.passes for stage in found.stages) <= 9_000 and found.left_out and word(found, target) == "cannot tell"
    assert sum(stage.weight for stage in found.stages) == pytest.approx(1), "the shares of those that are not run go to the others"


@pytest.mark.parametrize(("classes", "budget"), [(10, 10**9), (10, 20_000), (43, 20_000), (43, 10**9)])
def test_a_route_costs_what_it_is_said_to(classes: int, budget: int) -> None:
    """No more than the most that is said, and within 30 % of what is printed."""
    target, splits = bare(classes, (1, 16, 16))
    ladder = Ladder(budget=budget)
    route = ladder.route((1, 16, 16), classes, budget)
    found = ladder(target, splits, CPU)
    spent = sum(stage.evidence.passes for stage in found.stages)
    beside = passes_of(len(found.stages) * 256)  # the images' own classes
    assert spent <= passes_of(route.images(classes, ladder.searched(classes))) + beside <= budget + beside
    printed = passes_of(route.expected(classes, ladder.searched(classes)))
    assert abs(spent - printed) <= 0.3 * printed or abs(spent - printed) <= beside


def test_no_clock_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine a thousand times slower, and one that stops: the same stages, the same p-value to the last digit."""
    target, splits = bare(6)
    found, clock = [], iter(range(10**9))
    for tick in (None, lambda: 1000.0 * next(clock)):
        if tick is not None:
            monkeypatch.setattr(time, "perf_counter", tick)
        climbed = Ladder()(target, splits, CPU)
        found.append((climbed.p_value, [stage.evidence.passes for stage in climbed.stages], climbed.left_out, climbed.judgement.word))
    assert found[0] == found[1]


def test_without_any_budget_no_search_is_begun() -> None:
    target, splits = bare(6)
    found = Ladder(budget=1)(target, splits, CPU)
    assert [stage.name for stage in found.stages] == ["backdoor/last_layer"]
    assert any("the budget was used up before any class was searched" in one for one in found.left_out)
    assert word(found, target) == "cannot tell"


def test_a_search_for_as_many_classes_as_the_budget_allows() -> None:
    """In the screening route a class takes 160 images before classes are compared: of ten, four can be searched."""
    target, splits = bare(200)
    found = Ladder(budget=2_300)(target, splits, CPU)
    assert found.cut_short and "triggers were searched for 4 of 10 classes within 2,300 passes" in found.left_out
    assert word(found, target) == "cannot tell"


def test_masks_after_different_numbers_of_steps_are_not_compared() -> None:
    """The budget ends within the second group: its masks, after fewer steps, would be the larger ones."""
    target, splits = planted((1, 64, 64), 4, 3)
    found = recover(target, splits, CPU, InversionSettings(batch_size=128, updates=1, steps=20, budget=3 * 128 * 20))
    tried = np.isfinite(found.sizes)
    assert found.remark is not None and f"the budget was used up before {4 - tried.sum()} of 4 classes were tried" in found.remark
    assert found.query_count > 0 and len(found.triggers) == 1


def test_coarse_triggers_are_of_whole_blocks_and_sizes_count_pixels() -> None:
    target, splits = planted((3, 16, 16), 4, 3)
    found = recover(target, splits, CPU, InversionSettings(coarse=4, steps=60, exhaustive=True))
    mask = found.triggers[0].mask
    assert mask.shape == (1, 16, 16) and found.triggers[0].pattern.shape == (3, 16, 16)
    blocks = mask.reshape(4, 4, 4, 4)
    assert torch.equal(blocks, blocks[:, :1, :, :1].expand_as(blocks))
    assert found.sizes.min() == pytest.approx(float(mask.sum()), rel=1e-4) and found.triggers[0].works


def test_a_search_that_was_cut_short_is_not_calibrated() -> None:
    """The nulls are of searches that went on: masks that are compared early differ more."""
    target, splits = planted((1, 8, 8), 10, None, dataset="MNIST")
    kind = Kind("MNIST", 10, next(one.networks[0] for one in shipped().populations if one.dataset == "MNIST"))
    for budget, calibrated in ((1, False), (None, True)):
        evidence = NeuralCleanse(InversionSettings(budget=budget))(target, splits, CPU)
        judged = evidence.by_clean_models("backdoor/neural_cleanse", params_of(NeuralCleanse()), kind)
        assert judged.calibrated is calibrated and judged.p_value is not None and 0 < judged.p_value <= 1


def test_classes_are_taken_from_several_groups() -> None:
    settings = InversionSettings()
    groups = [Group.start(torch.tensor(part), (1, 4, 4), settings) for part in ([0, 3], [1, 4], [2, 5])]
    some = Group.some(groups, [4, 0])
    assert some.classes.tolist() == [0, 4]
    assert torch.equal(some.raw, Group.joined(groups).take(torch.tensor([0, 4])).raw)
    assert most(settings, 10) == 10 * 20 + 3 * 20 + 1 * 40


def test_groups_are_started_when_their_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triggers of a thousand classes at 224 x 224 pixels take gigabytes: none lies in memory before it is searched for."""
    monkeypatch.setattr(batching, "VALUES", 2 * 4 * 64)  # two classes of four images
    target, splits = planted((1, 8, 8))
    done: list[str] = []
    for name in ("start", "advance"):
        plain = getattr(Search, name)
        monkeypatch.setattr(Search, name, lambda *given, name=name, plain=plain: done.append(name) or plain(*given))
    recover(target, splits, CPU, InversionSettings(steps=2, batch_size=4, images=8, exhaustive=True))
    assert done[-6:] == ["start", "advance"] * 3, "after the estimate of the cost, which starts one of its own"


def test_groups_without_a_limit_are_equal_parts_and_with_one_begin_small() -> None:
    for count, size in ((10, 3), (43, 20), (1000, 170), (7, 7)):
        left, parts = count, []
        while number := classes._next(count, left, size, 10**9, None):
            left, parts = left - number, [*parts, number]
        assert parts == [len(part) for part in np.array_split(np.arange(count), -(-count // size))]
    assert classes._next(1000, 1000, 170, 0, 60) == 10
    assert classes._next(1000, 990, 170, 5, 60) == 110, "ten took 5, 55 are left"
    assert classes._next(1000, 990, 170, 50, 60) == 2 and classes._next(1000, 990, 170, 61, 60) == 0
    assert classes.group_size(planted((1, 8, 8))[0], 6, torch.device("cpu")) * 6 * 64 <= 2**19, (
        "with gradients, wide networks take 4 GB for so many"
    )


def test_a_class_that_every_image_gets_does_not_keep_the_others_from_being_measured() -> None:
    clean = Clean(torch.zeros(4, 1, 8, 8), torch.eye(3)[[2, 2, 2, 2]], None)
    wanted_classes: list[int] = []

    def measure(wanted: Tensor) -> Measured:
        wanted_classes.extend(wanted.tolist())
        return Measured(wanted.float(), 7, 5)

    found = where_apart(measure, clean)(torch.tensor([0, 1, 2]))
    assert (
        wanted_classes == [0, 1]
        and found.values.tolist()[:2] == [0, 1]
        and found.values[2].isnan()
        and (found.forward, found.backward) == (7, 5)
    )
    assert where_apart(measure, clean)(torch.tensor([2])).forward == 0 and wanted_classes == [0, 1]


@pytest.mark.parametrize("number", [2, 3])
def test_a_gap_in_logits_is_no_outlier_where_there_is_no_spread(number: int) -> None:
    """Of two or three classes there is no deviation to divide by, and clean models of ten classes are no measure of the plain gap.

    Of 13 clean networks for two or three digits, 8 had p <= 0.01 before this was seen.
    """
    target, splits = planted((1, 8, 8), number, None)
    louder = target.wrap(lambda module: nn.Sequential(module, Louder()))
    found = Ladder()(louder, replace(splits, test=None, non_members=None), CPU)
    largest = found.stages[0].evidence
    assert largest.score > 50 and largest.p_value is None
    none = replace(splits, test=None, non_members=None)
    assert largest.with_null("backdoor/maximum_margin", found.stages[0].params, louder, none, CPU).p_value is None
    assert found.p_value > 0.01 and word(found, louder) == "cannot tell"
    assert {stage.name.rpartition("/")[2] for stage in found.stages if not stage.counted} == {
        "maximum_margin",
        "strip",
        "last_layer",
    }


class Louder(nn.Module):
    """Greater confidence, and some inclination."""

    def forward(self, logits: Tensor) -> Tensor:
        return 100 * logits + 50 * torch.arange(logits.shape[1])
