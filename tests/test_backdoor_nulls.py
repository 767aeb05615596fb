"""p-values from clean models: valid by simulation, honest about what they rest on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from securitynet.attacks.backdoor._nulls import Null, calibrate, combined, for_classes, shipped, tail

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


def test_own_dataset_first_then_the_nearest_class_count() -> None:
    low, high = tuple(np.linspace(0, 1, 20)), tuple(np.linspace(1, 3, 20))
    nulls = [
        Null("a", "{}", "CIFAR-10", 10, low),
        Null("a", "{}", "MNIST", 10, high),
        Null("a", "{}", "MNIST-5", 5, low),
        Null("b", "{}", "CIFAR-10", 10, low),
    ]
    own = calibrate("a", "{}", 2.0, "cifar-10", 10, nulls)
    assert own.calibrated and own.p_value < 1 / 21 and own.words == "20 clean models on CIFAR-10, 10 classes"
    other = calibrate("a", "{}", 2.0, "SVHN", 10, nulls)
    assert not other.calibrated and other.p_value == pytest.approx(11 / 21) and "calibrated: no" in other.words and "MNIST" in other.words
    many = calibrate("a", "{}", 2.0, "CIFAR-10", 100, nulls)
    assert not many.calibrated and many.p_value == pytest.approx(1 - (1 - 11 / 21) ** 10)
    assert not calibrate("a", "{}", 2.0, "CIFAR-10", 11, nulls).calibrated
    for nothing in (calibrate("c", "{}", 2.0, "CIFAR-10", 10, nulls), calibrate("a", '{"steps":1}', 2.0, "CIFAR-10", 10, nulls)):
        assert nothing.p_value is None and not nothing.calibrated and "no clean models were measured" in nothing.words
    assert calibrate("a", "{}", math.nan, "CIFAR-10", 10, nulls).p_value is None


def test_shipped_nulls_are_of_many_clean_models() -> None:
    for null in shipped():
        assert len(null.scores) >= 10 and all(map(math.isfinite, null.scores)) and list(null.scores) == sorted(null.scores)
