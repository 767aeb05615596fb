"""Attacks with reference models: each against the textbook formula in plain loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy import stats
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.metrics import roc_auc_score
from torch import nn

from securitynet.attacks.membership import MembershipEvidence, half
from securitynet.attacks.membership._calibrated import tuned_a
from securitynet.attacks.membership._formulas import log_odds
from securitynet.attacks.membership.attack_r import AttackR
from securitynet.attacks.membership.base import Base
from securitynet.attacks.membership.lira import Lira, copies
from securitynet.attacks.membership.log_ratio import LogRatio
from securitynet.attacks.membership.rmia import Rmia
from securitynet.attacks.membership.student_t import StudentT
from securitynet.attacks.protocols import Attack
from securitynet.attacks.resolve import names, resolve
from securitynet.cache import ArrayCache
from securitynet.data import ArrayImages, ImageSet, Splits, draw
from securitynet.data.digits import digits
from securitynet.data.transform import Transform
from securitynet.entry import Entry
from securitynet.errors import Skipped, UsageError
from securitynet.references import References, ReferenceSettings, reference_answers
from securitynet.target import Target, build, query
from securitynet.training import Recipe, seeded

TINY = ReferenceSettings(count=4, recipe=Recipe(epochs=3, batch_size=16, optimiser="adamw", learning_rate=0.01, weight_decay=0.0))
OFFLINE = (Lira, Rmia, LogRatio, Base, StudentT)
Answered = tuple[np.ndarray, References]
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
def target() -> Target:
    """A linear network that has seen nothing."""
    with seeded(0):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    entry = Entry(id="local/linear", num_classes=10, input_size=(1, 8, 8), mean=(0.5,), std=(0.1,))
    return replace(build(entry, network), cache=ArrayCache(None))


@pytest.fixture(scope="module")
def splits() -> Splits:
    pixels, labels = digits()
    train, test = ArrayImages(pixels[:60], labels[:60]), ArrayImages(pixels[60:100], labels[60:100])
    return draw(ImageSet("digits", train, test), Transform((1, 8, 8)), 10)


@pytest.fixture(scope="module")
def answered(target: Target, splits: Splits, accelerator: Accelerator) -> Answered:
    """The target's logits and the references', of members, then non-members."""
    assert splits.members is not None and splits.non_members is not None
    logits = [query(target, part, accelerator).logits for part in (splits.members, splits.non_members)]
    return np.concatenate(logits).astype(np.float64), reference_answers(splits, TINY, accelerator, target.cache)


def log_p(logits: np.ndarray, label: int, temperature: float = 1.0) -> float:
    return float(log_softmax(logits.astype(np.float64) / temperature)[label])


def phi(logits: np.ndarray, label: int) -> float:
    return log_p(logits, label) - float(logsumexp(np.delete(log_softmax(logits.astype(np.float64)), label)))


def both_sides(value: Callable[..., float], found: References, i: int) -> tuple[list[float], list[float]]:
    """The statistic of sample i under the models with and without it."""
    inside = [value(found.logits[m, i], found.labels[i]) for m in range(4) if found.held[i, m]]
    outside = [value(found.logits[m, i], found.labels[i]) for m in range(4) if not found.held[i, m]]
    assert len(inside) == len(outside) == 2
    return inside, outside


def check(evidence: MembershipEvidence, expected: list[float]) -> None:
    scores = np.concatenate([evidence.members, evidence.non_members])
    assert (len(evidence.members), len(evidence.non_members)) == (60, 40)
    assert scores == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_lira_by_hand(target: Target, splits: Splits, answered: Answered, accelerator: Accelerator) -> None:
    logits, found = answered
    sides = [both_sides(phi, found, i) for i in range(100)]
    pooled = [float(np.sqrt(np.mean([np.var(side[s], ddof=1) for side in sides]))) for s in (0, 1)]
    for per_example in (False, True):
        online, offline = [], []
        for i, side in enumerate(sides):
            value = phi(logits[i], found.labels[i])
            spread = [float(np.std(side[s], ddof=1)) if per_example else pooled[s] for s in (0, 1)]
            laws = [stats.norm(np.mean(side[s]), spread[s]) for s in (0, 1)]
            online.append(laws[0].logpdf(value) - laws[1].logpdf(value))
            offline.append(laws[1].logcdf(value) - laws[1].logsf(value))
        check(Lira(TINY, per_example=per_example)(target, splits, accelerator), online)
        check(Lira(TINY, online=False, per_example=per_example)(target, splits, accelerator), offline)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_rmia_by_hand(gamma: float, target: Target, splits: Splits, answered: Answered, accelerator: Accelerator) -> None:
    """Every sample against every known non-member but itself, in a double loop."""
    logits, found = answered
    population = [60 + int(z) for z in np.flatnonzero(half(40, splits.seed + 1))]
    for online in (True, False):
        ratio = []
        for i in range(100):
            inside, outside = (np.mean(np.exp(side)) for side in both_sides(log_p, found, i))
            average = (inside + outside) / 2 if online else ((1 + 0.33) * outside + (1 - 0.33)) / 2
            ratio.append(softmax(logits[i])[found.labels[i]] / average)
        expected = [np.mean([ratio[i] / ratio[z] > gamma for z in population if z != i]) for i in range(100)]
        check(Rmia(TINY, online, gamma, a=0.33)(target, splits, accelerator), expected)
        check(LogRatio(TINY, online)(target, splits, accelerator), list(np.log(ratio)))


def test_a_of_rmia_is_tuned_on_the_references_themselves(
    target: Target, splits: Splits, answered: Answered, accelerator: Accelerator
) -> None:
    """Each reference attacked by the others in plain loops, areas by scikit-learn."""
    found = answered[1]
    p = np.array([[softmax(found.logits[m, i].astype(np.float64))[found.labels[i]] for m in range(4)] for i in range(100)])
    means = []
    for step in range(11):
        a, areas = step / 10, []
        for j in range(4):
            scores = []
            for i in range(100):
                outside = [p[i, m] for m in range(4) if m != j and not found.held[i, m]]
                scores.append(p[i, j] / (((1 + a) * np.mean(outside) + 1 - a) / 2))
            areas.append(roc_auc_score(found.held[:, j], scores))
        means.append(np.mean(areas))
    assert tuned_a(np.log(p), found.held) == np.argmax(np.round(means, 12)) / 10
    assert tuned_a(np.log(p)[:, :2], found.held[:, :2]) == tuned_a(np.log(p), np.zeros_like(found.held)) == 0.33
    tuned = Rmia(TINY, online=False)(target, splits, accelerator)
    fixed = Rmia(TINY, online=False, a=float(np.argmax(np.round(means, 12)) / 10))(target, splits, accelerator)
    assert np.array_equal(tuned.members, fixed.members)


def test_for_one_model_rmia_base_and_info_rmia_rank_alike(target: Target, splits: Splits, accelerator: Accelerator) -> None:
    """At one temperature, online: BASE is the log ratio itself, InfoRMIA less a constant, RMIA a non-decreasing function of it."""
    scores = {}
    for attack in (Rmia(TINY, temperature=2.0), Base(TINY), LogRatio(TINY, temperature=2.0)):
        evidence = attack(target, splits, accelerator)
        scores[type(attack)] = np.concatenate([evidence.members, evidence.non_members])
    ratio = scores[LogRatio]
    info = ratio - ratio[60:].mean()  # log of the ratio plus the divergence, which is minus its mean over the population
    assert np.allclose(scores[Base], ratio, atol=1e-9) and np.array_equal(np.argsort(info), np.argsort(ratio))
    population = 60 + np.flatnonzero(half(40, splits.seed + 1))
    others = np.setdiff1d(np.arange(100), population)  # one of the population is not compared with itself
    assert (np.diff(scores[Rmia][others[np.argsort(ratio[others])]]) >= 0).all()
    assert len(np.unique(scores[Rmia])) <= 2 * (len(population) + 1) < len(np.unique(ratio))


def test_student_t_works_with_one_reference(target: Target, splits: Splits, accelerator: Accelerator) -> None:
    """A side without an entry gives the prior's predictive: location the pooled mean, variance that of all entries, 2 * 4 degrees."""
    one = replace(TINY, count=1)
    found = reference_answers(splits, one, accelerator, target.cache)
    evidence = StudentT(one, across=False)(target, splits, accelerator)
    values = found.statistic(log_odds)[:, 0]
    parts = splits.members, splits.non_members
    own = np.concatenate([log_odds(query(target, part, accelerator)) for part in parts if part is not None])
    laws = {}
    for side in (True, False):
        entries = values[found.held[:, 0] == side]
        mean, beta = entries.mean(), entries.var() * 3
        laws[side] = lambda phi, mean=mean, beta=beta: stats.t(8, mean, np.sqrt(beta * 2 / 4)).logpdf(phi)

    def updated(entry: float, side: bool) -> Any:
        entries = values[found.held[:, 0] == side]
        mean, beta = entries.mean(), entries.var() * 3 + (entry - entries.mean()) ** 2 / 4
        return stats.t(9, (mean + entry) / 2, np.sqrt(beta * 3 / (4.5 * 2)))

    expected = []
    for i in range(100):
        held = bool(found.held[i, 0])
        known = float(updated(values[i], held).logpdf(own[i]))
        blank = float(laws[not held](own[i]))
        expected.append(known - blank if held else blank - known)
    check(evidence, expected)
    with pytest.raises(Skipped, match="even number"):
        StudentT(one)(target, splits, accelerator)


def test_base_and_attack_r_by_hand(target: Target, splits: Splits, answered: Answered, accelerator: Accelerator) -> None:
    logits, found = answered
    online, offline, larger = [], [], []
    for i, label in enumerate(found.labels):
        inside, outside = both_sides(partial(log_p, temperature=2.0), found, i)
        own = log_p(logits[i], label, 2.0)
        online.append(own - np.log(np.mean(np.exp(inside + outside))))
        offline.append(own - 0.33 * np.log(np.mean(np.exp(outside))))
        larger.append(np.mean([-value > -log_p(logits[i], label) for value in both_sides(log_p, found, i)[1]]))
    check(Base(TINY)(target, splits, accelerator), online)
    check(Base(TINY, online=False)(target, splits, accelerator), offline)
    check(AttackR(TINY)(target, splits, accelerator), larger)


@pytest.mark.parametrize("across", [True, False])
def test_student_t_by_hand(across: bool, target: Target, splits: Splits, answered: Answered, accelerator: Accelerator) -> None:
    logits, found = answered
    sides = np.array([both_sides(phi, found, i) for i in range(100)])  # [sample, side, model]
    values = [phi(logits[i], found.labels[i]) for i in range(100)]
    means = sides.mean(axis=2)
    laws: list[list[Any]] = []
    for s in (0, 1):
        line = np.polyfit(means[:, 1 - s], means[:, s], 1)
        priors = np.polyval(line, means[:, 1 - s]) if across else np.full(100, sides[:, s].mean())
        variance = np.mean(np.var(sides[:, s], axis=1, ddof=1))
        laws.append([student(sides[i, s], priors[i], variance) for i in range(100)])
    ratio = [inside.logpdf(value) - outside.logpdf(value) for inside, outside, value in zip(*laws, values, strict=True)]
    check(StudentT(TINY, across=across)(target, splits, accelerator), ratio)
    if not across:
        log_odds = [law.logcdf(value) - law.logsf(value) for law, value in zip(laws[1], values, strict=True)]
        check(StudentT(TINY, online=False)(target, splits, accelerator), log_odds)


def student(side: np.ndarray, prior_mean: float, prior_variance: float) -> Any:
    """The posterior predictive of one side of one sample, prior worth one observation of the mean, eight of the variance."""
    n, mean = len(side), np.mean(side)
    kappa, alpha = 1 + n, 4 + n / 2
    beta = prior_variance * 3 + 0.5 * sum((x - mean) ** 2 for x in side) + n * (mean - prior_mean) ** 2 / (2 * kappa)
    return stats.t(2 * alpha, (prior_mean + n * mean) / kappa, np.sqrt(beta * (kappa + 1) / (alpha * kappa)))


def test_augmented_queries_are_averaged_and_counted(target: Target, splits: Splits, accelerator: Accelerator) -> None:
    class Mirrored(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.module(pixels.flip(3))

    plain = Lira(TINY)(target, splits, accelerator)
    assert (plain.queries, Lira(TINY, queries=3)(target, splits, accelerator).queries) == (100, 300)
    two = Lira(TINY, queries=2)(target, splits, accelerator)
    models = reference_answers(splits, TINY, accelerator, target.cache, Mirrored)
    assert splits.members is not None
    mirrored = query(target.wrap(Mirrored), splits.members, accelerator).logits
    sides = [both_sides(phi, models, i) for i in range(100)]
    pooled = [float(np.sqrt(np.mean([np.var(side[s], ddof=1) for side in sides]))) for s in (0, 1)]
    for i in range(60):
        value = phi(mirrored[i], models.labels[i])
        ratio = [stats.norm.logpdf(value, np.mean(sides[i][s]), pooled[s]) for s in (0, 1)]
        assert two.members[i] == pytest.approx((plain.members[i] + ratio[0] - ratio[1]) / 2, rel=1e-6)
    assert len({repr(change(nn.Identity())) for change in copies(18, 32) if change}) == 17
    with pytest.raises(UsageError, match="between 1 and 18"):
        copies(19, 32)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("attack", EVERY)
def test_every_sample_has_a_score_or_the_reason_is_said(
    attack: Callable[..., Attack], count: int, target: Target, splits: Splits, accelerator: Accelerator
) -> None:
    made = attack(replace(TINY, count=count))
    if count % 2 and getattr(made, "online", False) and not isinstance(made, Base):
        with pytest.raises(Skipped, match="online needs an even number of reference models"):
            made(target, splits, accelerator)
        return
    evidence = made(target, splits, accelerator)
    assert isinstance(evidence, MembershipEvidence) and evidence.queries == 100
    assert np.isfinite(evidence.members).all() and np.isfinite(evidence.non_members).all()
    assert len(np.unique(evidence.members)) > 1


def test_what_does_not_apply_is_skipped(target: Target, splits: Splits, accelerator: Accelerator) -> None:
    with pytest.raises(Skipped, match="at least four reference models"):
        Lira(2, per_example=True)(target, splits, accelerator)
    with pytest.raises(Skipped, match="not known which images"):
        Rmia(TINY)(target, replace(splits, membership="unknown"), accelerator)
    with pytest.raises(UsageError, match="temperature"):
        Rmia(TINY, temperature=0.0)(target, splits, accelerator)


def test_the_attacks_are_found_by_name_and_suite() -> None:
    family = {
        "membership/lira",
        "membership/rmia",
        "membership/base",
        "membership/student_t",
        "membership/log_ratio",
        "membership/attack_r",
    }
    assert family <= set(names()) and "membership/compared" not in names()
    assert resolve("membership/lira") == [Lira(), Lira(online=False)]
    full, standard = resolve("membership:full"), resolve("membership:standard")
    for attack in (Lira(), Rmia(online=False), Base(), StudentT(), LogRatio(), AttackR()):
        assert attack in full and attack not in standard
