"""The report in a real browser: it filters, sorts, plots, hovers and leads to cards, can be read by all, and asks nobody for anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from report_rows import HOSTILE, add_families, rows

import securitynet
from securitynet.attack import Row
from securitynet.report.page import write_page
from securitynet.report.saved import read_saved

TAGS = """own/<b>loud</b><a href="https://example.org/">there</a>&lt;i&gt;%{x}"""
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a real evaluation and of thirty invented models, some with hostile names."""
    result = securitynet.evaluate("builtin/digits-overfit", attacks=["membership/loss", "membership/correctness"])
    folder = add_families(result.save(tmp_path_factory.mktemp("saved") / "overfit"))
    shown = [*read_saved(folder).rows, *rows(), *rows(2, HOSTILE)]
    return write_page([folder], shown, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven from outside; skips where either is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=OPTIONS)
        yield opened
        opened.close()


@contextmanager
def opened(browser: Any, page: Path, width: int = 1280) -> Iterator[Any]:
    """A page in a tab that notes messages, errors and requests."""
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light" if width > 500 else "dark")
    tab.noted = []
    tab.on("console", lambda message: tab.noted.append(message.text))
    tab.on("pageerror", lambda error: tab.noted.append(str(error)))
    tab.on("request", lambda asked: tab.noted.append(asked.url) if asked.url != page.as_uri() else None)
    tab.goto(page.as_uri())
    yield tab
    tab.close()


@pytest.fixture(params=[1280, 390])
def tab(request: pytest.FixtureRequest, browser: Any, page: Path) -> Iterator[Any]:
    """The report in a tab, wide and light or narrow and dark."""
    with opened(browser, page, request.param) as found:
        yield found


def test_in_a_browser(tab: Any) -> None:
    assert tab.evaluate("document.documentElement.scrollWidth") == tab.viewport_size["width"]  # nothing sticks out
    assert tab.title() == "builtin/digits-overfit: report"
    lines = tab.locator("#models tbody tr")
    assert lines.count() == 33 and tab.locator("#count").inner_text() == "33 of 33 models"
    tab.fill("#search", "model-1 set1")
    assert tab.locator("#count").inner_text() == "6 of 33 models"  # 1, 11, 13, ..., 19
    tab.fill("#search", "")
    tab.select_option("[data-filter='1']", label="set0")
    assert lines.count() == 16
    tab.get_by_role("button", name="loss AUC").click()
    shown = [float(text) for text in lines.locator(f"td:nth-child({_column(tab, 'loss AUC')})").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    tab.get_by_role("button", name="loss AUC").click()
    shown = [float(text) for text in lines.locator(f"td:nth-child({_column(tab, 'loss AUC')})").all_inner_texts()]
    assert shown == sorted(shown) and tab.locator("th[aria-sort=ascending]").count() == 1
    assert tab.noted == [] and tab.title() != "taken"


def _column(tab: Any, title: str) -> int:
    return int(tab.locator("#models thead th").all_inner_texts().index(title)) + 1


def marks(tab: Any) -> Any:
    """Scroll to the plot, wait for it; return its marks, those of one's own models last."""
    tab.locator("#scatter").scroll_into_view_if_needed()
    tab.wait_for_selector("#scatter .scatterlayer path.point")
    return tab.locator("#scatter .scatterlayer path.point")


def hovered(tab: Any, mark: Any) -> list[str]:
    """Point at a mark; return the lines of its label."""
    mark.hover(force=True)
    tab.wait_for_selector("#scatter .hovertext")
    tab.wait_for_timeout(150)  # a label of before may still be there
    return [str(line) for line in tab.locator("#scatter .hovertext .nums tspan.line").all_text_contents()]


def test_hover_and_click_in_a_browser(tab: Any) -> None:
    assert tab.evaluate("typeof Plotly") == "undefined", "the table is there first"
    dots = marks(tab)
    assert dots.count() == 33 and tab.locator("#said").inner_text().startswith("33 dots: target accuracy from 0.5")
    lines = hovered(tab, dots.first)
    assert lines[0].startswith("own/") and lines[-3].startswith("set") and lines[-2].startswith("target accuracy: 0.")
    tab.select_option("#y", label="prediction-correctness AUC")
    assert dots.count() == 1 and hovered(tab, dots)[0] == "builtin/digits-overfit"
    dots.click(force=True)
    assert tab.url.endswith("#model-1")
    assert tab.noted == []


def test_the_plot_follows_the_table_and_the_keyboard(tab: Any) -> None:
    from playwright.sync_api import expect

    dots = marks(tab)
    for text, left in (("model-1 set1", 6), ("no such model", 0), ("", 33)):
        tab.fill("#search", text)
        expect(dots).to_have_count(left)
        expect(tab.locator("#said")).to_contain_text(f"{left} dots" if left else "No model has both numbers.")
    low, high = tab.evaluate("document.getElementById('scatter').layout.xaxis.range")
    tab.get_by_role("button", name="Zoom in").press("Enter")
    closer = tab.evaluate("document.getElementById('scatter').layout.xaxis.range")
    assert low < closer[0] < closer[1] < high
    tab.get_by_role("button", name="Reset axes").press("Enter")
    hovered(tab, dots.first)
    dots.first.click(force=True)
    assert tab.evaluate("document.activeElement.id") == "search" and tab.locator("#models tbody tr").count() == 1
    for scheme, ink in (("dark", "rgb(232, 234, 237)"), ("light", "rgb(26, 26, 26)")):
        tab.emulate_media(color_scheme=scheme)
        expect(tab.locator("#scatter .xtick text").first).to_have_css("fill", ink)
    assert tab.noted == []


def test_hostile_names_stay_text_in_the_plot(browser: Any, tmp_path: Path) -> None:
    extra = Row(entry=f"{TAGS}-0", dataset="set0", attack="membership/<b>quiet<br>&lt;", metric="auc", value=0.7)
    with opened(browser, write_page([], [*rows(2, TAGS), extra], tmp_path / "page.html")) as tab:
        title = next(text for text in tab.locator("#y option").all_inner_texts() if "quiet" in text)
        dots = marks(tab)
        tab.select_option("#y", label=title)
        assert "".join(hovered(tab, dots)).startswith(f"{TAGS}-0set0") and "<b>quiet<br>&lt;" in title
        assert tab.locator("#scatter .ytitle").text_content() == title
        assert tab.locator("#scatter a").count() == 0 and tab.locator("#scatter [style*='bold']").count() == 0
        assert tab.noted == []


def test_axe_finds_nothing_serious(tab: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    marks(tab)
    found = axe.Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
