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
from securitynet.attacks.backdoor._climbed import Climbed
from securitynet.attacks.backdoor._inversion import Settings, planned, recover
from securitynet.attacks.backdoor._inversion.group import Group
from securitynet.attacks.backdoor._inversion.planned import most
from securitynet.attacks.backdoor._inversion.search import Search
from securitynet.attacks.backdoor.ladder import Ladder
from securitynet.attacks.backdoor.neural_cleanse import NeuralCleanse
from securitynet.attacks.protocols import params_of
from securitynet.data import Splits
from securitynet.results.row import Context
from securitynet.results.verdict import verdict
from securitynet.target import Target

CPU = Accelerator(cpu=True)
Case = Callable[[], tuple[Target, Splits]]


def word(found: Climbed, target: Target) -> str:
    """The verdict that an evaluation would print."""
    context = Context(target.entry.id, "0" * 64, "none", None, "0" * 64, 0, "cpu", 1, "{}")
    rows = [context.row("backdoor", "backdoor/ladder", one) for one in found.metrics()]
    said = verdict(rows, target.entry)
    assert said is not None
    return said.word


def searched(found: Climbed) -> np.ndarray:
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
    assert Settings(steps=80).rungs == Settings().rungs and Settings().rungs[-1] == 80
    monkeypatch.setattr(ladder, "Settings", partial(Settings, steps=80))
    target, splits = case()
    scheduled, exhaustive = (Ladder(exhaustive=one)(target, splits, CPU) for one in (False, True))
    assert word(scheduled, target) == word(exhaustive, target) == ("clean" if truth is None else "suspicious")
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


class Slow(nn.Module):
    """Takes a given time for every image."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, pixels: Tensor) -> Tensor:
        time.sleep(self.seconds * len(pixels))
        return pixels


def slow(classes: int, seconds: float) -> tuple[Target, Splits]:
    target, splits = planted((1, 8, 8), classes)
    return target.wrap(lambda module: nn.Sequential(Slow(seconds), module)), replace(splits, test=None, non_members=None)


def test_a_time_limit_is_kept_and_what_it_leaves_out_is_said() -> None:
    """A thousand classes that would take an hour: what cannot be done is not begun, and nobody is told that the model is clean."""
    target, splits = slow(1000, 1e-3)
    start = time.perf_counter()
    found = Ladder(seconds=6)(target, splits, CPU)
    assert time.perf_counter() - start < 12
    assert {stage.name for stage in found.stages} <= {f"backdoor/{name}" for name in ("strip", "last_layer", "neural_cleanse")}
    assert {words.partition(":")[0] for words in found.left_out} >= {"no maximum_margin", "no neo"}
    assert "of 1000 classes within 1.2 s: too few to compare" in found.left_out[0] and word(found, target) == "cannot tell"


def test_without_any_time_no_search_is_begun() -> None:
    target, splits = slow(6, 1e-4)
    found = Ladder(seconds=1e-3)(target, splits, CPU)
    assert [stage.name for stage in found.stages] == ["backdoor/last_layer"] and len(found.left_out) == 4
    assert "time was up before any class was searched" in found.left_out[-1] and word(found, target) == "cannot tell"


def test_a_search_for_as_many_classes_as_the_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class takes 640 images before classes are compared: of 12, four can be searched, two suspects and two others."""
    monkeypatch.setattr(ladder, "seconds_per_image", lambda *_: 1 / 640)
    target, splits = planted(classes=12)
    climb = ladder._Climb(Ladder(seconds=1e3), target, splits, CPU)
    climb.climbed()
    climb.start, climb.ladder = time.perf_counter(), Ladder(seconds=5.5)
    search = climb._search(1 / 640)
    assert search.classes is not None and len(search.classes) == 4 and 4 in search.classes, "the shortcut's class is suspected"
    assert climb.left_out == ["triggers were searched for 4 of 12 classes within 5 s"]


def test_masks_after_different_numbers_of_steps_are_not_compared() -> None:
    """Time is up within the second group: its masks, after fewer steps, would be the larger ones."""
    target, splits = planted((1, 64, 64), 4, 3)
    wrapped = target.wrap(lambda module: nn.Sequential(Slow(2e-4), module))
    found = recover(wrapped, splits, CPU, Settings(batch_size=128, updates=1, steps=20, seconds=1.0))
    tried = np.isfinite(found.sizes)
    assert found.remark is not None and f"time was up before {4 - tried.sum()} of 4 classes were tried" in found.remark
    assert found.asked > 0 and len(found.triggers) == 1


def test_a_search_that_was_cut_short_is_not_calibrated() -> None:
    """The nulls are of searches that went on: masks that are compared early differ more."""
    target, splits = planted((1, 8, 8), 10, None, dataset="MNIST")
    plain = NeuralCleanse()
    for seconds, calibrated in ((1e-6, False), (None, True)):
        evidence = NeuralCleanse(Settings(seconds=seconds))(target, splits, CPU)
        judged = evidence.by_clean_models("backdoor/neural_cleanse", params_of(plain), target)
        assert judged.calibrated is calibrated and 0 < judged.p_value <= 1


def test_classes_are_taken_from_several_groups() -> None:
    settings = Settings()
    groups = [Group.start(torch.tensor(part), (1, 4, 4), settings) for part in ([0, 3], [1, 4], [2, 5])]
    some = Group.some(groups, [4, 0])
    assert some.classes.tolist() == [0, 4]
    assert torch.equal(some.raw, Group.joined(groups).take(torch.tensor([0, 4])).raw)
    assert most(settings, 10) == 10 * 20 + 3 * 20 + 1 * 40


def test_groups_are_started_when_their_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triggers of a thousand classes at 224 x 224 pixels take gigabytes: none lies in memory before it is searched for."""
    monkeypatch.setattr(planned, "VALUES", 2 * 4 * 64)  # two classes of four images
    target, splits = planted((1, 8, 8))
    done: list[str] = []
    for name in ("start", "advance"):
        plain = getattr(Search, name)
        monkeypatch.setattr(Search, name, lambda *given, name=name, plain=plain: done.append(name) or plain(*given))
    recover(target, splits, CPU, Settings(steps=2, batch_size=4, images=8, exhaustive=True))
    assert done[-6:] == ["start", "advance"] * 3, "after the estimate of the cost, which starts one of its own"


def test_groups_without_a_limit_are_equal_parts_and_with_one_begin_small() -> None:
    for count, size in ((10, 3), (43, 20), (1000, 170), (7, 7)):
        left, parts = count, []
        while number := classes._next(count, left, size, 1e9, None):
            left, parts = left - number, [*parts, number]
        assert parts == [len(part) for part in np.array_split(np.arange(count), -(-count // size))]
    assert classes._next(1000, 1000, 170, 0.0, 60.0) == 10
    assert classes._next(1000, 990, 170, 5.0, 60.0) == 110, "ten took 5 s, 55 s are left"
    assert classes._next(1000, 990, 170, 50.0, 60.0) == 2 and classes._next(1000, 990, 170, 61.0, 60.0) == 0
    assert classes.group_size(planted((1, 8, 8))[0], 6, torch.device("cpu")) * 6 * 64 <= 2**19, (
        "with gradients, wide networks take 4 GB for so many"
    )


def test_a_class_that_every_image_gets_does_not_keep_the_others_from_being_measured() -> None:
    clean = Clean(torch.zeros(4, 1, 8, 8), torch.eye(3)[[2, 2, 2, 2]], None)
    asked: list[int] = []

    def measure(wanted: Tensor) -> Measured:
        asked.extend(wanted.tolist())
        return Measured(wanted.float(), 7, 5)

    found = where_apart(measure, clean)(torch.tensor([0, 1, 2]))
    assert asked == [0, 1] and found.values.tolist()[:2] == [0, 1] and found.values[2].isnan() and (found.forward, found.backward) == (7, 5)
    assert where_apart(measure, clean)(torch.tensor([2])).forward == 0 and asked == [0, 1]


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
    assert largest.with_null("backdoor/maximum_margin", found.stages[0].params, louder).p_value is None
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
