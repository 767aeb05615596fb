"""Severity apart from verification, the headline's numbers, bands around ROC curves, what a comparison comes to, what luck alone shows."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from securitynet.entry import Entry
from securitynet.metrics.bands import roc_band
from securitynet.metrics.exposure import expected_below, most_alone, p_values
from securitynet.report.comparison.compare import Difference
from securitynet.report.comparison.conclusion import conclusion
from securitynet.report.page.drawings import HEIGHT, TOP, roc_drawing
from securitynet.report.page.marks import Mark, marks, numbers_of, verification
from securitynet.results.evidence import Scored
from securitynet.results.headline import Finding, Headline
from securitynet.results.row import Row

ENTRY = Entry(id="own/a", dataset="d", num_classes=10)


def row(metric: str, value: float, low: float | None = None, high: float | None = None, **changes: Any) -> Row:
    given: dict[str, Any] = {"entry": "own/a", "dataset": "d", "family": "membership", "attack": "membership/loss", "n": 1000}
    return Row(metric=metric, value=value, ci_low=low, ci_high=high, **(given | changes))


def test_a_model_is_verified_whatever_its_risks() -> None:
    leaking = [row("auc", 0.9, 0.88, 0.92), row("tpr_at_fpr_0.001", 0.05, 0.02, 0.08)]
    said = {one.risk: one.severity for one in marks(leaking, ENTRY, None)}
    assert said == {"membership": "high", "stealing": "not looked at", "backdoor": "not looked at"}
    assert verification(leaking, "ok").word == "verified" and verification(leaking, "ok").tone == "soft"
    failed = row("test_accuracy", 0.1, family="verify", attack="verify", status="suspect", reason="constant predictor")
    assert verification([failed]).word == "not verified" and verification([failed]).cause == "constant predictor"
    assert verification([]).word == "not checked"


def test_what_the_headline_says_in_numbers() -> None:
    """Precision by hand: of 1,000 images 100 are members; 20 of these and 9 of the others are named."""
    area = Finding("auc", None, 0.0125, 0.5, 1000, 1000, "membership/loss", "{}", 0.7, 0.66)
    rate = Finding("tpr_at_fpr_0.01", 0.01, 0.00625, 0.01, 500, 500, "membership/quantile", "{}", 0.2, 0.15)
    none = Finding("tpr_at_fpr_0.001", 0.001, 0.0, 0.001, 500, 500, reason="500 non-members cannot show it")
    first, second, third = numbers_of(Headline(3, area, (rate, none)))
    assert (first.value, first.low, first.chance, first.samples) == ("0.700", "0.660", "0.500", "1,000 and 1,000")
    assert (second.attack, second.value, second.low, second.chance) == ("quantile", "20 %", "15 %", "1 %")
    assert second.precision == ("17% where 1 % are", f"{20 / 29:.0%} where 10 % are")
    assert (third.value, third.reason) == ("–", "500 non-members cannot show it") and numbers_of(None) == ()


def test_no_page_calls_a_model_ok() -> None:
    hostile = Mark("backdoor", "high", "<b>it</b> looks backdoored")
    text = render_macros(hostile)
    assert "verified" in text and ">ok<" not in text and "&lt;b&gt;it&lt;/b&gt;" in text and 'class="severity high">high<' in text
    assert not re.search(r'class="good"[^>]*>(ok|verified)', text)


def render_macros(mark: Mark) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("securitynet", "report"), autoescape=True, undefined=StrictUndefined)
    source = "{% import 'marks.html.j2' as marks %}{{ marks.severities([mark], 'x') }}{{ marks.verified(found) }}"
    return environment.from_string(source).render(mark=mark, found=verification([], "ok"))


def test_the_band_that_is_drawn_is_the_one_that_is_computed() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.7, 1, 500), rng.normal(0, 1, 400)
    scored = Scored("membership/loss", "{}", "loss", members, others, np.arange(500), np.arange(400))
    drawn = roc_drawing([("loss", scored)])
    assert drawn is not None
    points = [tuple(map(float, part.split())) for part in drawn.lines[0].band.strip("MZ").split("L")]
    upper, lower = points[: len(points) // 2], points[len(points) // 2 :][::-1]
    low, high = roc_band(members, others, np.asarray([1.0 / 400, 1.0]))
    floor = 1 / 500

    def height(rate: float) -> float:
        return 2 * TOP + HEIGHT - (TOP + HEIGHT * (1 - np.log10(max(rate, floor)) / np.log10(floor)))

    assert upper[0][1] == pytest.approx(height(high[0]), abs=0.1) and lower[0][1] == pytest.approx(height(low[0]), abs=0.1)
    assert upper[-1][1] == pytest.approx(height(1.0), abs=0.1) and all(up[1] <= down[1] for up, down in zip(upper, lower, strict=True))


def difference(label: str, metric: str, value: float, half: float, attack: str | None = None) -> Difference:
    name = attack or f"membership/{label}"
    return Difference(name, "{}", label, metric, 0.5 + value, 0.5, value, value - half, value + half, "made", None)


def test_what_a_comparison_comes_to() -> None:
    names, same = ("a", "b"), tuple(Mark(risk, "low", "") for risk in ("membership", "stealing", "backdoor"))
    high = (Mark("membership", "high", ""), *same[1:])
    accuracy = difference("verify", "test_accuracy", 0.02, 0.01, "verify")
    leaks = [difference("loss", "auc", 0.1, 0.02), difference("margin", "auc", 0.01, 0.02)]
    said = conclusion(names, [accuracy, *leaks], (high, same), True)
    factor = stats.norm.isf(0.025 / 2) / stats.norm.isf(0.025)
    assert "a is more accurate than b: 2 points of test accuracy, at least 1." in said
    assert f"a leaks more membership than b, most clearly by loss: 0.1 in AUC, at least {0.1 - 0.02 * factor:.3g}, corrected for 2" in said
    assert "Severities that differ (a, b): membership high and low." in said
    back = conclusion(names, [difference("loss", "auc", -0.1, 0.02)], (same, same), True)
    assert back == "b leaks more membership than a, most clearly by loss: 0.1 in AUC, at least 0.08."
    weak = conclusion(names, [difference(str(k), "auc", 0.02, 0.019) for k in range(10)], (same, same), True)
    assert weak.startswith("Neither leaks more membership"), "one of ten is no finding"
    both = conclusion(names, [difference("x", "auc", 0.1, 0.01), difference("y", "auc", -0.1, 0.01)], (same, same), True)
    assert both.startswith("By x a leaks more membership than b, by y the other way round")
    assert "different datasets" in conclusion(names, leaks, (same, same), False)
    assert conclusion(names, [], (same, same), True).startswith("There is nothing to conclude")


def test_what_luck_alone_shows() -> None:
    """By enumeration of all orders of three members and two non-members; by simulation for two groups."""
    orders = [list(itertools.takewhile(bool, order)) for order in set(itertools.permutations([1, 1, 1, 0, 0]))]
    chances = np.bincount([len(order) for order in orders], minlength=4) / len(orders)
    assert most_alone([(3, 2)], 0.85) == int(np.searchsorted(np.cumsum(chances), 0.85))
    rng, sizes = np.random.default_rng(0), [(60, 40), (30, 50)]
    counts = [sum(int((rng.random(n) > rng.random(m).max()).sum()) for n, m in sizes) for _ in range(4000)]
    most = most_alone(sizes)
    assert np.mean(np.asarray(counts) <= most) >= 0.94 and np.mean(np.asarray(counts) <= most - 1) < 0.95
    found = np.mean([(p_values(rng.random(60), rng.random(40)) <= 0.05).sum() for _ in range(4000)])
    assert found == pytest.approx(expected_below(60, 40, 0.05), abs=0.15)


def test_the_pages_of_a_real_result(tmp_path: Path) -> None:
    import securitynet
    from securitynet.report.comparison.compare import compare, write_comparison
    from securitynet.report.galleries.exposed import gallery
    from securitynet.report.page.report_page import write_page
    from securitynet.report.saved_result import read_saved

    attacks = ["membership/loss", "membership/correctness"]
    results = [securitynet.evaluate(f"builtin/digits-{name}", attacks=attacks, cache_dir=tmp_path) for name in ("overfit", "regular")]
    saved = [read_saved(one.save(tmp_path / one.entry.name)) for one in results]
    page = write_page([saved[0].folder], saved[0].rows, tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'Verification: <span class="soft">verified</span>' in page and "headline about membership" in page and 'class="band"' in page
    found = results[0].summary()["headline"]["area"]
    assert f'<td class="number">{found["low"]:.3f}</td>' in page and 'class="severity not-looked-at"' in page
    (pair,) = compare(saved)
    text = write_comparison([pair], tmp_path / "compare.html").read_text(encoding="utf-8")
    assert pair.conclusion.startswith("builtin/digits-regular is more accurate than builtin/digits-overfit") and "verified" in text
    assert text.index('class="conclusion"') > text.index("</table>") and pair.to_record()["conclusion"] == pair.conclusion
    shown = gallery(results[0], "membership/loss")
    exposed = shown.page()
    assert "in 95 of 100 cases" in exposed and "by luck alone" in exposed and "verified" in exposed
    assert [one.by_luck for one in shown.levels] == pytest.approx([898 * np.floor(one.level * 900) / 900 for one in shown.levels])
