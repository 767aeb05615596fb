"""p-values from clean models: valid by simulation, honest about what they rest on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from securitynet.attacks.backdoor._kind import Covariates, Kind, unlike
from securitynet.attacks.backdoor._nulls import (
    Null,
    Nulls,
    Population,
    calibrate,
    combined,
    for_classes,
    parse,
    shares,
    shipped,
    small_mask,
    tail,
)
from securitynet.errors import DataError
from securitynet.metrics.judgement import Judgement

Draw = Callable[[np.random.Generator, int], np.ndarray]
WEIGHTS = [0.5, 0.2, 0.2, 0.1]
SHAPES: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "gumbel": lambda rng, n: rng.gumbel(size=n),
    "lognormal": lambda rng, n: rng.lognormal(0, 0.5, n),
}


def test_tail_counts_within_the_scores_and_goes_beyond_them() -> None:
    scores = list(range(1, 21))
    assert tail(0.5, scores) == 21 / 21 and tail(20, scores) == 2 / 21 and tail(10.5, scores) == 11 / 21
    k, spread = 10, sum(range(1, 11))
    assert tail(60, scores) == pytest.approx(k / 21 * (1 + 50 / spread) ** -k)
    assert tail(20.01, scores) == pytest.approx(1 / 21)
    assert tail(5, [1.0] * 20) == 1 / 21  # no spread to go by
    assert tail(100, [1, 2, 3]) == 1 / 4  # too few for a tail


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [15, 40])
def test_p_values_of_clean_models_are_valid(shape: str, n: int) -> None:
    """Of 4,000 clean models, each against n others, no more than a share p has a p-value of at most p."""
    rng = np.random.default_rng(n)
    found = np.array([tail(sample[0], sample[1:]) for sample in (SHAPES[shape](rng, n + 1) for _ in range(4000))])
    for level in (0.05, 0.01, 0.0025):
        allowed = level + 3 * math.sqrt(level * (1 - level) / 4000)
        if level >= 1 / (n + 1) or level <= 0.5 / (n + 1):
            assert (found <= level).mean() <= allowed, (level, (found <= level).mean())


def test_combination_is_valid_whatever_the_dependence() -> None:
    """Four tests of one model: independent, identical, and driven by one hidden factor."""
    rng, models = np.random.default_rng(0), 20000
    independent = rng.random((models, 4))
    same = np.repeat(rng.random((models, 1)), 4, axis=1)
    hidden = rng.normal(size=(models, 1))
    from scipy.stats import norm

    correlated = norm.sf(0.8 * hidden + 0.6 * rng.normal(size=(models, 4)))
    for p_values in (independent, same, correlated):
        found = np.minimum(1, (p_values / WEIGHTS).min(axis=1))
        assert np.allclose(found[:50], [combined(list(row), WEIGHTS) for row in p_values[:50]])
        for level in (0.05, 0.01):
            assert (found <= level).mean() <= level + 3 * math.sqrt(level * (1 - level) / models)


def test_stages_that_were_not_needed_are_corrected_for_as_well() -> None:
    assert combined([0.01, 0.5], [0.25, 0.25]) == pytest.approx(0.04)
    assert combined([0.01, 0.004], [0.5, 0.1]) == pytest.approx(0.02)
    assert combined([0.6, 0.5]) == 1.0 and combined([]) == 1.0


def test_more_classes_make_outliers_likelier() -> None:
    assert for_classes(0.01, 10, 10) == 0.01 and for_classes(0.01, 10, 5) == 0.01
    assert for_classes(0.01, 10, 1000) == pytest.approx(1 - 0.99**100)
    rng = np.random.default_rng(1)
    ten, thousand = rng.normal(size=(4000, 10)).max(1), rng.normal(size=(200, 1000)).max(1)
    alarms = [for_classes(tail(score, ten), 10, 1000) <= 0.05 for score in thousand]
    assert np.mean(alarms) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


NETWORK = Covariates(accuracy=0.9, scale=10.0, boundary=0.02, depth=5, zeros=0.0, distinct=4000, input_size=(1, 28, 28))
NETWORKS = tuple(
    replace(NETWORK, accuracy=0.9 + 0.004 * one, scale=10.0 * 1.04**one, boundary=0.02 * 1.05**one, depth=5 + one % 3) for one in range(12)
)


FOUR = (("Fashion-MNIST-5", 5, 1.0), ("MNIST", 10, 1.5), ("digits", 10, 2.0), ("Fashion-MNIST", 10, 1.0))


def kind(dataset: str | None, classes: int, **facts: Any) -> Kind:
    """A model of the measured kind, but for `facts`."""
    return Kind(dataset, classes, replace(NETWORK, **facts))


def of(scores: Sequence[Null], **more: Any) -> Nulls:
    """Those scores, with the covariates of twelve networks for each dataset."""
    return Nulls(tuple(scores), tuple(Population(one.dataset, one.classes, one.most or one.classes, NETWORKS, **more) for one in scores))


def test_own_dataset_first_then_the_nearest_class_count() -> None:
    low, high = tuple(np.linspace(0, 1, 20)), tuple(np.linspace(1, 3, 20))
    nulls = of(
        [
            Null("a", "{}", "CIFAR-10", 10, low),
            Null("a", "{}", "MNIST", 10, high),
            Null("a", "{}", "MNIST-5", 5, low),
            Null("b", "{}", "CIFAR-10", 10, low),
        ]
    )
    for name in ("cifar-10", "cifar10", "CIFAR10"):  # aliases are names of the same
        own = calibrate("a", "{}", 2.0, kind(name, 10), nulls)
        assert own.calibrated and own.p_value < 1 / 21 and own.words == "20 clean models on CIFAR-10, 10 classes"
    other = calibrate("a", "{}", 2.0, kind("SVHN", 10), nulls)
    assert not other.calibrated and other.p_value == pytest.approx(11 / 21) and "calibrated: no" in other.words and "MNIST" in other.words
    many = calibrate("a", "{}", 2.0, kind("CIFAR-10", 100), nulls)
    assert not many.calibrated and many.p_value == pytest.approx(1 - (1 - 11 / 21) ** 10)
    assert not calibrate("a", "{}", 2.0, kind("CIFAR-10", 11), nulls).calibrated
    for detector, params in (("c", "{}"), ("a", '{"steps":1}')):
        nothing = calibrate(detector, params, 2.0, kind("CIFAR-10", 10), nulls)
        assert nothing.p_value is None and not nothing.calibrated and "no clean models were measured" in nothing.words


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_has_no_p_value(score: float) -> None:
    found = calibrate("a", "{}", score, kind("MNIST", 10), of([Null("a", "{}", "MNIST", 10, tuple(np.linspace(0, 1, 20)))]))
    assert found.p_value is None and not found.calibrated and "not finite" in found.words
    assert Judgement.at(score, calibrated=True).word == "cannot tell"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 0.31),
        ("scale", 1.0),
        ("boundary", 0.4),
        ("depth", 44),
        ("zeros", 0.5),
        ("distinct", 255),
        ("input_size", (3, 32, 32)),
        ("scale", math.nan),
    ],
)
def test_a_model_unlike_the_clean_ones_is_not_calibrated(name: str, value: Any) -> None:
    """Robust, shallow in its logits, deep, pruned, quantised, of another size: its dataset and class count do not show it."""
    low, high = tuple(np.linspace(0, 1, 20)), tuple(np.linspace(1, 3, 20))
    nulls = of([Null("a", "{}", "MNIST", 10, low), Null("a", "{}", "digits", 10, high)])
    alike, other = (calibrate("a", "{}", 2.0, one, nulls) for one in (kind("MNIST", 10), kind("MNIST", 10, **{name: value})))
    assert alike.calibrated and not other.calibrated and f"unlike the clean models on MNIST in {name}" in other.words
    assert alike.p_value is not None and other.p_value is not None and other.p_value > alike.p_value, "the largest of all datasets"
    assert not calibrate("a", "{}", 2.0, Kind("MNIST", 10), nulls).calibrated, "nothing measured"
    assert not calibrate("a", "{}", 2.0, kind("MNIST", 10), Nulls(nulls.scores)).calibrated, "nothing known of the null"
    few = Nulls(nulls.scores, (Population("MNIST", 10, 10, NETWORKS[:9]),))
    assert not calibrate("a", "{}", 2.0, kind("MNIST", 10), few).calibrated, "little known of the null"


@pytest.mark.parametrize(("allowed", "share"), [(1.0, 3 / 21), (2.0, 0.005)])
def test_a_network_of_the_same_kind_is_seldom_unlike_the_others(monkeypatch: pytest.MonkeyPatch, allowed: float, share: float) -> None:
    """Of 400 drawn like twenty others, three in twenty-one are as far as the two or three farthest of them; hardly any twice as far."""
    monkeypatch.setattr("securitynet.attacks.backdoor._kind.ALLOWED", allowed)
    rng = np.random.default_rng(0)

    def drawn() -> Covariates:
        accuracy, scale, boundary = rng.normal([2.0, 2.3, -4.0], 0.6)
        return replace(NETWORK, accuracy=1 / (1 + math.exp(-accuracy)), scale=math.exp(scale), boundary=math.exp(boundary))

    outside = [bool(unlike(drawn(), tuple(drawn() for _ in range(20)))) for _ in range(400)]
    assert abs(np.mean(outside) - share) < 3 * math.sqrt(share / 400)


def test_a_model_between_two_groups_of_networks_is_like_neither() -> None:
    """Two architectures with scales of 10 and 100: the range would hold a model at 30."""
    rng = np.random.default_rng(1)
    two = tuple(replace(NETWORK, scale=middle * math.exp(0.1 * rng.normal())) for middle in (10.0, 100.0) for _ in range(10))
    assert unlike(replace(NETWORK, scale=30.0), two) == ("scale",) and not unlike(replace(NETWORK, scale=11.0), two)


def test_one_odd_network_does_not_let_everything_pass() -> None:
    """Forty alike and one with three times the scale: a model of half the scale, twice the boundary and less accuracy is another kind."""
    rng = np.random.default_rng(2)
    alike = tuple(replace(NETWORK, scale=10.0 * math.exp(0.1 * rng.normal())) for _ in range(40))
    other = replace(NETWORK, scale=5.0, boundary=2 * NETWORK.boundary, accuracy=NETWORK.accuracy - 0.1)
    assert unlike(other, alike) and unlike(other, (*alike, replace(NETWORK, scale=30.0)))


def test_no_class_count_alone_chooses_a_null() -> None:
    """A model of five classes of another dataset: the five-class null would say .1, those of ten classes are asked as well."""
    nulls = of([Null("a", "{}", name, count, tuple(np.linspace(0, top, 20))) for name, count, top in FOUR])
    found = calibrate("a", "{}", 0.95, kind("CIFAR-10", 5), nulls)
    assert found.p_value == pytest.approx(11 / 21, abs=0.05) and "of 4 other nulls that of digits" in found.words


def test_many_classes_need_twenty_networks_of_many_classes() -> None:
    for count in (19, 20):
        null = Null("a", "{}", "GTSRB", 30, tuple(np.linspace(0, 1, count)), 43)
        for classes in (30, 36, 43):
            found = calibrate("a", "{}", 0.5, kind("GTSRB", classes), of([null]))
            assert found.calibrated is (count == 20)
        assert not calibrate("a", "{}", 0.5, kind("GTSRB", 100), of([null])).calibrated
    assert "20 clean models on GTSRB, 30 to 43 classes" in calibrate("a", "{}", 0.5, kind("GTSRB", 43), of([null])).words


def test_no_test_keeps_a_share_that_it_cannot_use() -> None:
    """The score of neo is at most 1.5: where even that is likely among clean models, its share goes to the others."""
    name, weights = "backdoor/neo", {"backdoor/neo": 0.1, "backdoor/strip": 0.3, "backdoor/neural_cleanse": 0.6}
    for high, able in ((1.45, False), (0.2, True)):
        nulls = of([Null(name, "{}", "MNIST", 10, tuple(np.linspace(0.0, high, 20)))])
        nulls = of([*nulls.scores, *(Null(one, "{}", "MNIST", 10, tuple(np.linspace(0.0, 1.0, 20))) for one in list(weights)[1:])])
        found = shares(weights, kind("MNIST", 10), dict.fromkeys(weights, "{}"), nulls)
        assert sum(found.values()) == pytest.approx(1) and (name in found) is able
        assert found["backdoor/neural_cleanse"] == pytest.approx(0.6 if able else 2 / 3)


def test_a_stage_without_a_null_of_the_models_kind_leaves_its_share_to_those_that_have_one() -> None:
    weights = {"a": 0.1, "b": 0.3, "c": 0.6}
    nulls = of([Null(one, "{}", "digits" if one == "a" else "MNIST", 10, tuple(np.linspace(0, 1, 20))) for one in weights])
    assert shares(weights, kind("MNIST", 10), dict.fromkeys(weights, "{}"), nulls) == pytest.approx({"b": 1 / 3, "c": 2 / 3})
    assert shares(weights, kind("SVHN", 10), dict.fromkeys(weights, "{}"), nulls) == pytest.approx(weights)


def test_a_small_mask_is_half_of_the_smallest_of_clean_models() -> None:
    nulls = of([Null("a", "{}", "MNIST", 10, (1.0,))], masks=(0.3, 0.08))
    assert small_mask(Kind("MNIST", 10), nulls) == 0.04 and small_mask(Kind("SVHN", 10), nulls) == 0.02


NOT_FINITE = '{"detector":"a","params":"{}","dataset":"b","classes":1,"scores":[NaN]}'


@pytest.mark.parametrize("line", ["{", "[]", '{"detector": "a"}', NOT_FINITE])
def test_a_file_that_holds_no_nulls_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DataError, match=r"own.jsonl, line 2 holds no clean models' scores"):
        parse(["", line], "own.jsonl")


def test_shipped_nulls_are_of_many_clean_models() -> None:
    for null in shipped().scores:
        assert len(null.scores) >= 10 and all(map(math.isfinite, null.scores)) and list(null.scores) == sorted(null.scores)
