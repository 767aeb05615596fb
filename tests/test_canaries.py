"""Bounds on epsilon: against closed forms and published numbers, on mechanisms whose epsilon is known, and on a trained network."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import securitynet
from securitynet import canaries
from securitynet.cli import main
from securitynet.errors import DataError, UsageError
from securitynet.metrics import privacy
from securitynet.metrics.privacy import Errors, Guesses

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))


def images(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 8, 8), dtype=np.uint8), rng.integers(0, 10, n)


def answered(drawn: canaries.Canaries, mu: float, seed: int) -> np.ndarray:
    """Logits [m, 10] of a mu-Gaussian mechanism: the label's log-odds are a canary's noise, mu larger where it was included."""
    rng = np.random.default_rng(seed)
    logits = np.zeros((len(drawn), 10))
    logits[np.arange(len(drawn)), drawn.labels] = mu * drawn.included + rng.standard_normal(len(drawn))
    return logits


def test_a_gaussian_mechanism_has_the_epsilon_of_its_definition() -> None:
    for mu, delta in ((1.0, 1e-5), (0.5, 1e-5), (3.0, 1e-3)):
        epsilon = privacy.epsilon_of(mu, delta)
        grid = np.linspace(-12, 12, 400_001)  # delta is the integral of (p - exp(epsilon) q)+ over both densities
        density = np.maximum(stats.norm.pdf(grid, mu) - math.exp(epsilon) * stats.norm.pdf(grid), 0)
        assert np.trapezoid(density, grid) == pytest.approx(delta, rel=1e-3)
    assert privacy.epsilon_of(1.0, 1e-5) == pytest.approx(4.377, abs=1e-3)
    assert privacy.epsilon_of(0.0, 1e-5) == 0 and privacy.epsilon_of(1.0, 0.0) == math.inf


def test_bounds_are_those_of_the_published_formulas_on_the_same_guesses() -> None:
    """Written down again from the papers, by bisection and on PrivacyGuard's grid; see benchmarks/privacy_planted.py for means."""
    from privacy_planted import published, published_gaussian

    for right, made, count in ((140, 200, 1000), (190, 200, 1000), (620, 1000, 5000), (101, 200, 1000)):
        found = Guesses(right, made, count)
        assert privacy.one_run(found, canaries.DELTA) == pytest.approx(published(found, canaries.DELTA), abs=1e-5)
        grid, ours = published_gaussian(found), privacy.one_run_gaussian(found)
        assert ours >= 0.9 * grid and (grid > 0) == (ours > 0.11)  # the grid ends at mu = .1


def test_without_delta_one_run_is_the_exact_limit_of_a_share() -> None:
    for right, made in ((600, 1000), (5600, 10_000), (95, 100)):
        low = stats.beta.ppf(0.05, right, made - right + 1)
        assert privacy.one_run(Guesses(right, made, made), 0.0) == pytest.approx(math.log(low / (1 - low)), abs=1e-5)
    assert privacy.one_run(Guesses(520, 1000, 1000), 0.0) == 0 == privacy.one_run(Guesses(0, 10, 10))


def test_the_term_in_delta_is_that_of_the_theorem() -> None:
    """By a plain loop over the definition."""
    found, epsilon, delta = Guesses(170, 200, 1000), 1.3, 1e-5
    share = 1 / (1 + math.exp(-epsilon))
    chances = [stats.binom.pmf(one, 200, share) for one in range(201)]
    alpha = max(sum(chances[one] for one in range(170 - i, 170)) / i for i in range(1, 171))
    assert privacy.p_one_run(found, epsilon, delta) == pytest.approx(sum(chances[170:]) + 2 * 1000 * delta * alpha)


def test_the_gaussian_form_is_that_of_its_recursion_and_zero_where_nothing_is_rejected() -> None:
    assert privacy.one_run_gaussian(Guesses(900, 1000, 1000)) == pytest.approx(1 / 1.14, abs=0.01)
    assert privacy.one_run_gaussian(Guesses(520, 1000, 1000)) == 0


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_bounds_of_one_run_hold_on_planted_gaussian_mechanisms(mu: float) -> None:
    true, found = privacy.epsilon_of(mu, canaries.DELTA), []
    for seed in range(60):
        drawn = canaries.draw(*images(1000, seed), classes=10, seed=seed)
        found.append(drawn.audit(answered(drawn, mu, seed)))
    assert sum(one.epsilon > true for one in found) <= 7 and sum(one.mu > mu for one in found) <= 7  # 7 of 60 at 5 %: p = .03
    assert np.mean([one.mu for one in found]) > 0.4 * mu and np.mean([one.epsilon for one in found]) > 0.25 * true


def test_bounds_of_many_runs() -> None:
    assert privacy.many_runs(Errors(0, 1000, 0, 1000), 0.0) == pytest.approx(5.6, abs=0.01)
    true, wrong, found = privacy.epsilon_of(1.0, canaries.DELTA), 0, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        epsilon, mu = canaries.audit_runs(rng.standard_normal(400) + 1, rng.standard_normal(400))
        wrong += (epsilon > true) + (mu > 1)
        found.append(mu)
    assert wrong <= 10 and np.mean(found) > 0.35
    assert canaries.audit_runs(np.zeros(100), np.zeros(100)) == (0.0, 0.0)
    with pytest.raises(UsageError, match="four"):
        canaries.audit_runs([1.0, 2.0], [0.0] * 9)


def test_a_point_of_a_roc_in_units_of_epsilon() -> None:
    assert privacy.allowed(0.1, 0.01) == pytest.approx(math.log(10)) and privacy.allowed(0.5, 0.5) == 0
    assert privacy.allowed(0.5, 0.0) is None and privacy.allowed(0.99, 0.5) == pytest.approx(math.log(0.5 / 0.01))


@pytest.mark.parametrize("kind", canaries.KINDS)
def test_canaries_are_drawn_inserted_saved_and_read(kind: str, tmp_path: Path) -> None:
    pool, labels = images(200)
    drawn = canaries.draw(pool, labels, count=100, kind=kind, seed=3)
    chosen = [np.flatnonzero((pool == one).all(axis=(1, 2))) for one in drawn.images]
    if kind == "blank":
        assert all(len(np.unique(one)) == 1 for one in drawn.images)
    else:
        same = np.array([labels[where[0]] == own for where, own in zip(chosen, drawn.labels, strict=True)])
        assert same.all() if kind == "natural" else not same.any()
    x, y = drawn.insert(*images(50, 9))
    assert np.array_equal(x[50:], drawn.images[drawn.included]) and np.array_equal(y[50:], drawn.labels[drawn.included])
    assert 25 < drawn.included.sum() < 75
    drawn.save(tmp_path / "file")
    again = canaries.load(tmp_path / "file")
    assert all(np.array_equal(getattr(drawn, name), getattr(again, name)) for name in ("images", "labels", "included"))
    assert (again.kind, again.seed) == (kind, 3)


def test_torch_tensors_are_inserted_as_such() -> None:
    import torch

    pool, labels = images(120)
    x, y = canaries.draw(pool, labels, count=20).insert(*(torch.from_numpy(one) for one in images(30, 5)))
    assert isinstance(x, torch.Tensor) and x.dtype == torch.uint8 and len(x) == len(y) > 30


def wrong(name: str) -> Any:
    pool, labels = images(50)
    drawn = canaries.draw(pool, labels, count=20)
    return {
        "kind": lambda: canaries.draw(pool, labels, kind="odd"),
        "count": lambda: canaries.draw(pool, labels, count=51),
        "copies": lambda: canaries.draw(np.zeros_like(pool), labels, count=20),
        "blank": lambda: canaries.draw(*images(400), count=300, kind="blank"),
        "known": lambda: drawn.insert(pool, labels),
        "form": lambda: drawn.insert(pool.astype(np.float32), labels),
        "logits": lambda: drawn.audit(np.zeros((19, 10))),
        "finite": lambda: drawn.audit(np.full((20, 10), np.nan)),
        "guesses": lambda: drawn.audit(np.zeros((20, 10)), guessed=0.1),
        "file": lambda: canaries.load(Path(__file__)),
    }[name]


@pytest.mark.parametrize("name", ["kind", "count", "copies", "blank", "known", "form", "logits", "finite", "guesses", "file"])
def test_what_cannot_be_is_refused(name: str) -> None:
    with pytest.raises((UsageError, DataError)) as error:
        wrong(name)()
    assert len(str(error.value)) < 300


def test_a_network_that_remembers_is_not_private_and_canaries_are_no_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "plant", "kept", "--canaries", "300", "--epochs", "30", "--output", str(tmp_path)]) == 0
    assert "--attacks membership/canaries" in capsys.readouterr().out
    result = securitynet.evaluate(tmp_path / "kept", attacks=["membership/canaries"], cache_dir=tmp_path / "cache")
    rows = {row.metric: row for row in result.rows if row.attack == "membership/canaries"}
    assert rows["epsilon"].value is not None and rows["epsilon"].value >= 2 and rows["epsilon"].ci_high is None
    assert rows["canaries_right"].n == 60 and rows["epsilon"].queries == 300
    assert "not (" in result.summary()["meaning"] and "No membership attack" not in result.summary()["meaning"]
    held = canaries.load(tmp_path / "kept" / canaries.FILE)
    members = result.splits.members
    assert members is not None and not held.among(np.stack([members.images[int(index)] for index in members.indices])).any()
    skipped = securitynet.evaluate("builtin/digits-regular", attacks=["membership/canaries"], cache_dir=tmp_path / "cache")
    assert [row.status for row in skipped.rows if row.attack == "membership/canaries"] == ["skipped"]
