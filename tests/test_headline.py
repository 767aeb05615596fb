"""The headline: one family of tests that is rarely wrong without a leak, and does not miss one."""

from __future__ import annotations

import numpy as np
import pytest

from securitynet.attacks.membership import half
from securitynet.results import headline as module
from securitynet.results.headline import MISS, SHARES, Headline, headline, shares_of
from securitynet.results.row import Row

Arrays = dict[str, np.ndarray]


def family(rng: np.random.Generator, n: int, m: int, shifts: list[float], shared: float = 0.8) -> tuple[list[Row], list[Arrays]]:
    """Attacks whose scores are correlated over samples; attack i separates by shifts[i]."""
    known = {"known_members": half(n, 0), "known_non_members": half(m, 1)}
    base, rows, evidence = rng.standard_normal(n + m), [], []
    for number, shift in enumerate(shifts):
        scores = shared * base + np.sqrt(1 - shared**2) * rng.standard_normal(n + m)
        name = f"membership/{number}"
        rows.append(Row(attack=name, family="membership", metric="auc", value=0.5))
        evidence.append(
            {"attack": np.asarray(name), "params": np.asarray("{}"), "members": scores[:n] + shift, "non_members": scores[n:], **known}
        )
    return rows, evidence


def found(*args: object) -> Headline:
    one = headline(*family(*args))  # type: ignore[arg-type]
    assert one is not None
    return one


def test_models_without_a_leak_rarely_have_a_headline() -> None:
    rng = np.random.default_rng(0)
    words = [found(rng, 600, 1300, [0.0] * 15).word for _ in range(200)]
    assert sum(word is not None for word in words) <= 12  # 5 expected at most


@pytest.mark.parametrize(("shift", "words"), [(0.15, {"little"}), (0.35, {"little", "clearly"}), (2.0, {"strongly"})])
def test_a_leak_is_told_by_its_lower_end(shift: float, words: set[str]) -> None:
    one = found(np.random.default_rng(1), 3000, 3000, [0.0] * 14 + [shift])
    assert one.word in words and one.leading is not None and one.leading.attack == "membership/14"
    assert all(part.low is None or part.value is None or part.low <= part.value for part in (one.area, *one.rates))


def test_a_leak_at_low_false_positive_rates_comes_first() -> None:
    """One attack ranks everybody a little better, another finds a few members surely: the latter is told, with its own numbers."""
    rng = np.random.default_rng(2)
    rows, evidence = family(rng, 4000, 4000, [0.2, 0.0])
    evidence[1]["members"][rng.random(4000) < 0.05] += 8
    one = headline(rows, evidence)
    assert one is not None and one.leading is not None
    assert (one.leading.attack, one.leading.fpr) == ("membership/1", 0.01) and one.area.found
    assert one.leading.low is not None and 0.03 < one.leading.low < 0.05 < (one.leading.value or 0)
    assert one.leading.precision(0.1) == pytest.approx(0.1 * one.leading.value / (0.1 * one.leading.value + 0.9 * 0.01))  # type: ignore[operator]


def test_what_sizes_cannot_show_gives_its_share_back() -> None:
    assert sum(shares_of(10**6).values()) == pytest.approx(MISS) and shares_of(10**6)[0.001] == MISS * SHARES[0.001]
    some, few = shares_of(2500), shares_of(300)
    assert some[0.001] == 0.0 and some[0.01] > MISS * SHARES[0.01] and sum(some.values()) == pytest.approx(MISS)
    assert few == {None: pytest.approx(MISS), 0.01: 0.0, 0.001: 0.0}
    one = found(np.random.default_rng(3), 500, 500, [0.0])
    assert [part.reason for part in one.rates] == [f"250 non-members cannot show a false-positive rate of {rate}" for rate in (0.01, 0.001)]


def test_what_is_of_one_half_only_takes_no_part_and_a_fitted_attack_is_crossed() -> None:
    rng = np.random.default_rng(4)
    rows, evidence = family(rng, 400, 400, [0.0, 0.0])
    evidence[1]["held_out"] = np.asarray(True)
    assert (headline(rows, evidence) or pytest.fail()).attacks == 1
    evidence[1] |= {"swapped_members": rng.standard_normal(400) + 1, "swapped_non_members": rng.standard_normal(400)}
    evidence[1]["members"] += 1
    both = headline(rows, evidence)
    assert both is not None and (both.attacks, both.area.attack) == (2, "membership/1") and both.area.found
    assert headline(rows, []) is None


def test_the_family_is_fixed_before_anything_is_seen() -> None:
    assert sum(SHARES.values()) == 1.0 and MISS == 0.025 and set(module.PRIORS) == {0.01, 0.1}
