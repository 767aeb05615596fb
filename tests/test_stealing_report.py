"""The curve of a stealing attack in the terminal, as a table and as a figure; from rows, as they are saved."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from stolen import FACTS, SMALL, arrays, target_module

import securitynet
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.cli import main
from securitynet.cli._curves import curves_view
from securitynet.errors import UsageError
from securitynet.report.figures.stealing import curve_figure, curve_table, curves
from securitynet.results.result import Result

ATTACKS = [Knockoff(budgets=(20, 100), settings=SMALL), Knockoff(budgets=(20,), settings=replace(SMALL, pool="digits"))]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    cache = tmp_path_factory.mktemp("cache")
    return securitynet.evaluate(target_module(), arrays(), ATTACKS, preprocessing=FACTS, cache_dir=cache, samples=100)


def text(result: Result, width: int) -> str:
    shown = StringIO()
    Console(width=width, file=shown).print(curves_view([row for row in result.rows if row.family == "stealing"], width))
    return shown.getvalue()


def test_a_point_per_budget_with_its_own_numbers(result: Result) -> None:
    first, second = curves(result.rows)
    assert list(first.points) == [20, 100] and list(second.points) == [20]
    table = curve_table(result.rows)
    assert table["queries"].tolist() == [20, 100, 20]
    assert table["agreement"].tolist()[:2] == [
        result.value("stealing/knockoff", "agreement", budget=20),
        result.value("stealing/knockoff", "agreement"),
    ]
    assert (table["agreement_low"] <= table["agreement"]).all() and table["control_agreement"].isna().tolist() == [False, False, True]
    assert {"queries_for_50", "queries_for_80", "queries_for_90"} <= first.whole.keys()


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_shows_every_budget_and_fits(result: Result, width: int) -> None:
    shown = text(result, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "agreement [95 %]" in shown and "above the control" in shown and "of the target's accuracy, 50 % with" in shown
    assert [line for line in shown.splitlines() if line.split()[:1] == ["100"] or " 100 " in line] and "pool digits" in " ".join(
        shown.split()
    )


def test_the_figure_has_both_curves(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = curve_figure(result, tmp_path / "curve.svg")
    words = "".join(ElementTree.fromstring(path.read_text()).itertext())
    for expected in ("Agreement with the target", "queries", "true labels, without the target", "always its most frequent class"):
        assert expected in words
    again = curve_figure(result, tmp_path / "again.svg")
    assert again.read_bytes() == path.read_bytes()
    with pytest.raises(UsageError, match="a figure ends in"):
        curve_figure(result, tmp_path / "curve.txt")


def test_nothing_stolen_says_why(result: Result, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    skipped = replace(
        next(row for row in result.rows if row.family == "stealing"), metric="", value=None, status="skipped", reason="no images"
    )
    without = replace(result, rows=(skipped,))
    assert "knockoff  skipped: no images" in text(without, 80)
    with pytest.raises(UsageError, match="no stealing attack"):
        curve_figure(without, tmp_path / "curve.svg")


SMALL_FILE = """
from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing.knockoff import Knockoff
from securitynet.training import Recipe

recipe = Recipe(epochs=1, batch_size=64, learning_rate=0.05)
settings = Settings(surrogate="nets:tinyvgg", surrogate_args='{"width": 2}', recipe=recipe, least_steps=1, transfer=None)
VARIANTS = (Knockoff(budgets=(50, 150), settings=settings),)
"""


def test_the_command_draws_the_curve_and_takes_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "small.py").write_text(SMALL_FILE)
    words = ["evaluate", "builtin/digits-regular", "--attacks", str(tmp_path / "small.py"), "--curve", str(tmp_path / "curve.svg")]
    assert main([*words, "--seeds", "0", "1", "--cache-dir", str(tmp_path / "cache")]) == 0
    shown = capsys.readouterr().out
    assert "agreement [95 %]" in shown and "over 2 seeds" in shown and f"saved in {tmp_path / 'curve.svg'}" in " ".join(shown.split())
    assert (tmp_path / "curve.svg").stat().st_size > 1000
