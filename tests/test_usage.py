"""Questions about sets whose members are not known: against closed forms, simulated uses, and networks that hold the set or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from reference_case import QUICK, RAW
from scipy import stats
from torch import nn

import securitynet
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership._perturbed import Shifted
from securitynet.attacks.membership._question import Calibrated, Question
from securitynet.attacks.membership.folder import Folder
from securitynet.attacks.membership.loss import Loss
from securitynet.attacks.membership.near_copies import NearCopies, trimmed
from securitynet.attacks.membership.usage import Usage, UsageEvidence, _shift
from securitynet.attacks.resolve import code_of
from securitynet.cache import ArrayCache
from securitynet.cli import main
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.digits import digits
from securitynet.entry import Entry
from securitynet.errors import Skipped, UsageError
from securitynet.metrics import usage
from securitynet.references import ReferenceSettings, reference_answers
from securitynet.target import Target, build, query
from securitynet.training import seeded

TINY = ReferenceSettings(count=4, recipe=QUICK)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_share_is_rogan_and_gladens() -> None:
    found = usage.share_used(460, 1000, usage.counted(600, 1000), usage.counted(400, 1000))
    assert found.value == pytest.approx((0.46 - 0.4) / (0.6 - 0.4)) and found.ci_low is not None and found.ci_high is not None
    assert found.ci_low < 0.3 < found.ci_high
    deviation = np.sqrt(0.3 * 0.24 / 1000 + 0.7 * 0.24 / 1000 + 0.09 * 0.24 / 1000 + 0.49 * 0.24 / 1000) / 0.2  # the delta method's
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.96 * deviation, rel=0.05)
    assert usage.share_used(100, 1000, usage.counted(600, 1000), usage.counted(400, 1000)).value == 0


def test_the_share_is_not_defined_where_the_attack_finds_nothing() -> None:
    for hits in (400, 405, 100):
        found = usage.share_used(460, 1000, usage.counted(hits, 1000), usage.counted(400, 1000))
        assert found.value is None and found.reason and (found.ci_low, found.ci_high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="without images"):
        usage.share_used(0, 0, usage.counted(6, 10), usage.counted(4, 10))
    with pytest.raises(ValueError, match="two"):
        usage.carried_over([0.5], 100)


def test_intervals_cover_uses_of_every_share() -> None:
    rng, held = np.random.default_rng(0), []
    for share in np.linspace(0, 1, 200).repeat(10):
        used = round(share * 500)
        called = int(rng.binomial(used, 0.6) + rng.binomial(500 - used, 0.3))
        rates = [usage.counted(int(rng.binomial(500, rate)), 500) for rate in (0.6, 0.3)]
        found = usage.share_used(called, 500, *rates)
        held.append((found.ci_low or 0.0) - 1e-9 <= used / 500 <= (1.0 if found.ci_high is None else found.ci_high) + 1e-9)
    assert np.mean(held) >= 0.935


def test_a_rate_carried_over_knows_the_spread_between_models() -> None:
    alike, apart = usage.carried_over([0.6] * 8, 500), usage.carried_over([0.5, 0.7] * 4, 500)
    assert alike.variance == pytest.approx(0.24 / 500 * 9 / 8, rel=0.01) and alike.freedom == 7
    assert apart.variance == pytest.approx(np.var([0.5, 0.7] * 4, ddof=1) * 9 / 8) and apart.value == pytest.approx(0.6)


def test_the_folder_tests_are_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    set_, unseen = rng.normal(0.4, 2, 80), rng.normal(0, 1, 50)
    found = usage.welch(set_, unseen)
    t = (set_.mean() - unseen.mean()) / np.sqrt(set_.var(ddof=1) / 80 + unseen.var(ddof=1) / 50)
    u, v = set_.var(ddof=1) / 80, unseen.var(ddof=1) / 50
    assert found.p == pytest.approx(stats.t.sf(t, (u + v) ** 2 / (u**2 / 79 + v**2 / 49))) and found.low < found.value < found.high
    assert usage.welch(np.zeros(5), np.zeros(5)).p == 1.0
    others = [0.1, 0.3, 0.2, 0.4]
    more = usage.predicted(1.0, others)
    spread = np.std(others, ddof=1) * np.sqrt(1.25)
    assert more.p == pytest.approx(stats.t.sf(0.75 / spread, 3)) and more.value == pytest.approx(0.75)
    assert usage.predicted(0.25, others).p == pytest.approx(0.5)


def test_the_test_over_networks_holds_its_level() -> None:
    rng = np.random.default_rng(2)
    p = [usage.predicted(float(gaps[0]), list(gaps[1:])).p for gaps in rng.normal(3, 1, (4000, 9))]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_calibration_leaves_out_the_network_itself_and_those_that_held_the_image() -> None:
    references = np.array([[1.0, 2.0, 3.0, 5.0]])
    held = np.array([[True, False, False, False]])
    found = Calibrated.of(np.array([10.0]), references, held, 1)
    assert found.target == pytest.approx([10 - 10 / 3])
    assert found.references[0] == pytest.approx([1 - 10 / 3, 2 - 4, 3 - 3.5, 5 - 2.5])


def entry_of() -> Entry:
    return Entry(id="local/linear", num_classes=10, input_size=(1, 8, 8), mean=(0.5,), std=(0.1,))


@pytest.fixture(scope="module")
def target() -> Target:
    with seeded(0):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return replace(build(entry_of(), network), cache=ArrayCache(None))


def splits_of(membership: str = "unknown", start: int = 0) -> Splits:
    pixels, labels = digits()
    parts = (ArrayImages(pixels[a:b], labels[a:b]) for a, b in ((start, 60), (60, 100)))
    return draw(ImageSet("digits", *parts, membership=membership), RAW, 10)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def test_image_level_attacks_are_skipped_and_name_what_can_be_asked(target: Target, accelerator: Accelerator) -> None:
    for attack in (Loss(), NearCopies()):
        with pytest.raises(Skipped, match="membership/usage") as error:
            attack(target, splits_of(), accelerator)
        assert "not known which images" in str(error.value)


def test_usage_by_networks_by_hand(target: Target, accelerator: Accelerator) -> None:
    splits = splits_of()
    found = Usage(references=TINY)(target, splits, accelerator)
    made = reference_answers(splits, TINY, accelerator, target.cache)
    assert splits.members is not None and splits.non_members is not None
    own = np.concatenate([log_odds(query(target, part, accelerator)) for part in (splits.members, splits.non_members)])
    outside = made.statistic(log_odds)
    expected = [value - np.mean(row[~held]) for value, row, held in zip(own, outside, made.held, strict=True)]
    assert np.concatenate([found.questioned, found.unseen]) == pytest.approx(expected)
    metrics = {one.metric: one for one in found.metrics()}
    assert metrics["called_members"].value == pytest.approx((found.questioned >= found.threshold).mean())
    assert metrics["set_fpr"].value == pytest.approx((found.unseen >= found.threshold).mean())
    assert set(metrics) == {"share_used", "called_members", "set_tpr", "set_fpr"} and found.queries == 100
    folder = Folder(references=TINY)(target, splits, accelerator)
    assert len(folder.networks) == 4 and np.array_equal(folder.questioned, found.questioned)
    gap = found.questioned.mean() - found.unseen.mean() - np.mean(folder.networks)
    assert folder.gap.value == pytest.approx(gap)


def test_a_set_that_was_used_and_one_that_was_not(target: Target, accelerator: Accelerator) -> None:
    """A model whose log-odds are those of a plain one, 8 larger on the images that it holds."""

    class Remembers(nn.Module):
        def __init__(self, module: nn.Module, held: torch.Tensor, labels: torch.Tensor) -> None:
            super().__init__()
            self.module = module
            self.register_buffer("held", held)
            self.register_buffer("labels", labels)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            same = (pixels[:, None] - self.held[None]).abs().amax(dim=(2, 3, 4)) < 1e-3  # type: ignore[index, operator]
            logits = self.module(pixels).clone()
            rows = torch.nonzero(same.any(1)).flatten()
            logits[rows, self.labels[same[rows].int().argmax(1)]] += 8  # type: ignore[index]
            return logits

    splits = splits_of()
    assert splits.members is not None
    held = splits.members.pixels(np.arange(60))
    knows = target.wrap(lambda module: Remembers(module, held, torch.from_numpy(splits.members.labels)))  # type: ignore[union-attr]
    p = {name: Folder(references=0)(one, splits, accelerator).gap.p for name, one in (("knows", knows), ("plain", target))}
    assert p["knows"] < 0.001 and p["plain"] > 0.01
    known = Question(splits.members, splits.non_members, splits.members, splits)  # type: ignore[arg-type]
    assert known.sizes == (60, 40)


def test_a_shift_of_the_set_withholds_the_share() -> None:
    rng = np.random.default_rng(3)
    found = UsageEvidence(rng.normal(1, 1, 200), rng.normal(0, 1, 200), 0.5, usage.counted(180, 200), "networks", "the set is not like")
    share = found.metrics()[0]
    assert share.value is None and share.ci_low is None and share.reason == "the set is not like"


def test_a_shift_is_what_networks_without_the_images_see() -> None:
    rng = np.random.default_rng(4)
    held = np.tile([True, False], (400, 2))
    kind = np.arange(400) < 200
    alike, apart = (rng.random((400, 4)) < np.where(kind, share, 0.3)[:, None] for share in (0.3, 0.6))
    assert _shift(alike, held, kind, ~kind) is None
    found = _shift(apart, held, kind, ~kind)
    assert found is not None and "not like the unseen images" in found
    same = np.repeat(rng.random((400, 1)) < np.where(kind, 0.36, 0.3)[:, None], 4, axis=1)  # copies of one network add nothing
    assert (_shift(same, held, kind, ~kind) is None) == (_shift(same[:, :2], held[:, :2], kind, ~kind) is None)


def test_too_few_or_missing_images_and_bad_settings(target: Target, accelerator: Accelerator, tmp_path: Path) -> None:
    wrong: list[tuple[Any, Splits, type[Exception], str]] = [
        (Usage(), splits_of(start=45), Skipped, "at least 20"),
        (Usage(), replace(splits_of(), members=None, missing="no training images"), Skipped, "no training images"),
        (Usage(references=3), splits_of(), UsageError, "even"),
        (Folder(references=2), splits_of(), UsageError, "at least 4"),
        (Usage(images=str(tmp_path / "none")), splits_of(), UsageError, "no such file"),
    ]
    for attack, splits, kind, words in wrong:
        with pytest.raises(kind, match=words):
            attack(target, splits, accelerator)
    with pytest.raises(UsageError):
        NearCopies(dropped="middle")
    with pytest.raises(UsageError):
        NearCopies(trim=1.0)


def saved(path: Path, start: int, stop: int) -> str:
    pixels, labels = digits()
    np.savez(path, x_train=pixels[start:stop], y_train=labels[start:stop])
    return str(path)


def test_a_set_of_its_own_with_known_members(target: Target, accelerator: Accelerator, tmp_path: Path) -> None:
    path = saved(tmp_path / "set.npz", 90, 150)  # ten of its images are known as unseen, and left out
    attack = Usage(images=path)
    splits = splits_of("official-split")
    found = attack(target, splits, accelerator)
    assert len(found.questioned) == 50 and found.source.startswith("known members") and found.tpr.n == 30 and len(found.unseen) == 20
    assert found.queries == 50 + 40 + 60
    before = code_of(attack)
    saved(tmp_path / "set.npz", 90, 151)
    assert code_of(attack) != before and code_of(Usage()) == code_of(Usage())


def test_trimmed_means_and_ranges_by_hand(target: Target, accelerator: Accelerator) -> None:
    scores = np.array([[4.0, 1.0, 3.0, 2.0]])
    assert trimmed(scores, 0.5) == 3.5 and trimmed(scores, 0.5, "largest") == 1.5 and trimmed(scores, 0.99) == 4.0
    splits = splits_of("official-split")
    found = NearCopies(trim=0.5)(target, splits, accelerator)
    assert splits.members is not None
    pixels = splits.members.pixels(np.arange(60))
    shown: list[np.ndarray] = []
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            copy = Shifted(nn.Identity(), rows=1, columns=1)(pixels)
            with torch.inference_mode():
                logits = target.module(Shifted(nn.Identity(), rows=row, columns=column)(copy)).numpy().astype(np.float64)
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            own = p[np.arange(60), splits.members.labels]
            shown.append(np.log(own / (1 - own)))
    assert found.members == pytest.approx(np.sort(np.stack(shown, 1), axis=1)[:, 4:].mean(1), abs=1e-3)
    assert found.queries == 900 and NearCopies().beside[0].radius == 0 and not NearCopies(radius=0).beside


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A built-in model, whose members are known: a set of its own members against its test images, and the check of --set."""
    command = ["evaluate", "builtin/digits-overfit", "--attacks", "membership/folder", "--samples", "60", "--set", "references=0"]
    assert main([*command, "--cache-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "p-value of the folder test" in out
    result = securitynet.evaluate("builtin/digits-overfit", attacks=[Folder(references=0)], samples=60, cache_dir=tmp_path)
    p = result.value("membership/folder", "folder_p_value")
    assert p is not None and p < 0.001
