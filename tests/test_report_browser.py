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
from securitynet.report.page.leaderboard import write_leaderboard
from securitynet.report.page.report_page import write_page
from securitynet.report.saved_result import read_saved
from securitynet.results.row import Row

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
    lines, told = tab.locator("#models tbody tr"), tab.locator(".dt-info")
    assert lines.count() == 33 and told.inner_text() == "33 of 33 models, 1 to 33 shown"
    tab.fill("#search", "model-1 set1")
    assert told.inner_text() == "6 of 33 models, 1 to 6 shown"  # 1, 11, 13, ..., 19
    tab.fill("#search", "")
    tab.select_option("[data-filter='1']", label="set0")
    assert lines.count() == 16
    heading = tab.get_by_role("columnheader").filter(has=tab.get_by_role("button", name="loss AUC: "))
    for expected in ("descending", "ascending"):
        heading.get_by_role("button").press("Enter")
        shown = [float(text) for text in lines.locator(f"td:nth-child({_column(tab, 'loss AUC')})").all_inner_texts()]
        assert len(shown) == 16 and shown == sorted(shown, reverse=expected == "descending")
        assert heading.get_attribute("aria-sort") == expected and tab.locator("th[aria-sort]").count() == 1
    assert tab.noted == [] and tab.title() != "taken"


def test_what_is_missing_stands_last_and_a_name_leads_to_its_card(tab: Any) -> None:
    heading = tab.get_by_role("columnheader", name="loss AUC beyond the out-model")
    for _ in range(2):
        heading.click()
        first = tab.locator("#models tbody tr").first
        assert first.locator("th").inner_text() == "builtin/digits-overfit" and "mine" in str(first.get_attribute("class"))
    first.get_by_role("link").click()
    assert tab.url.endswith("#model-1") and tab.noted == []


def test_pages_and_columns_of_a_large_table(browser: Any, tmp_path: Path) -> None:
    attacks = [f"membership/a{k}" for k in range(9)]
    wide = [Row(entry=f"own/model-{n}", dataset="d", attack=attack, metric="auc", value=n / 120) for n in range(120) for attack in attacks]
    path = write_leaderboard([*wide, *rows(1, HOSTILE)], tmp_path)[0]
    with opened(browser, path) as tab:
        told, names = tab.locator(".dt-info"), tab.locator("#models tbody th")
        assert told.inner_text() == "121 of 121 models, 1 to 50 shown"
        tab.get_by_role("link", name="3", exact=True).press("Enter")
        assert told.inner_text() == "121 of 121 models, 101 to 121 shown" and names.count() == 21
        tab.select_option("#columns", index=1)
        assert tab.locator("#models thead th.number").count() == 4 and told.inner_text().endswith("1 to 50 shown")
        tab.fill("#search", "script")
        assert names.all_inner_texts() == [f"{HOSTILE}-0"]
        assert tab.noted == [] and tab.title() == "securitynet leaderboard"


def _column(tab: Any, title: str) -> int:
    return int(tab.locator("#models thead .dt-column-title").all_inner_texts().index(title)) + 1


PART = "const part = name => Bokeh.documents[0].get_model_by_name(name);"
STARTED = f"() => {{ {PART} return typeof Bokeh !== 'undefined' && Bokeh.documents[0]?.idle }}"
DRAWN = (
    "() => new Promise(done => { let left = 4; const next = () => left-- ? requestAnimationFrame(next) : setTimeout(done, 20); next() })"
)
PLACE = """n => { const view = Bokeh.index.get(part('plot')), box = document.getElementById('scatter').getBoundingClientRect();
  const { x, y } = part('marks').data; return [box.left + view.frame.x_scale.compute(x[n]), box.top + view.frame.y_scale.compute(y[n])] }"""


def marks(tab: Any) -> list[int]:
    """Scroll to the plot, wait for it; return the rows that are drawn, those of one's own models last."""
    tab.locator("#scatter").scroll_into_view_if_needed()
    tab.wait_for_function(STARTED)
    return list(tab.evaluate(f"{PART} ['others', 'mine'].flatMap(name => part(name).indices)"))


def point(tab: Any, mark: int) -> None:
    """Move the pointer to where the mark of a row is drawn, or would be."""
    tab.locator("#scatter").scroll_into_view_if_needed()
    tab.mouse.move(0, 0)
    tab.evaluate(DRAWN)
    tab.mouse.move(*tab.evaluate(f"n => {{ {PART} return ({PLACE})(n) }}", mark))
    tab.evaluate(DRAWN)


def hovered(tab: Any, mark: int) -> list[str]:
    """Point at a mark; return the lines of its label."""
    point(tab, mark)
    return [str(line) for line in tab.locator(".mark-label div").all_text_contents()]


def test_hover_and_click_in_a_browser(tab: Any) -> None:
    assert tab.evaluate("typeof Bokeh") == "undefined", "the table is there first"
    dots = marks(tab)
    assert len(dots) == 33 and tab.locator("#said").inner_text().startswith("33 dots: target accuracy from 0.5")
    lines = hovered(tab, dots[0])
    assert lines[0].startswith("own/") and lines[1].startswith("set") and lines[2].startswith("target accuracy: 0.")
    tab.select_option("#y", label="prediction-correctness AUC")
    dots = marks(tab)
    for _ in range(2):
        assert len(dots) == 1 and hovered(tab, dots[0])[0] == "builtin/digits-overfit"
        tab.mouse.down()
        tab.mouse.up()
        tab.wait_for_url("**#model-1")
        tab.evaluate("() => { location.hash = '' }")
        tab.wait_for_timeout(500)  # sooner, the next would make a double click
    assert tab.noted == []


def test_the_plot_follows_the_table(tab: Any) -> None:
    names = tab.evaluate("() => JSON.parse(document.getElementById('data').textContent).rows.map(row => row[0])")
    first, *_, last = [n for n in marks(tab) if "model-1" not in names[n]]
    span = "const { start, end } = part('plot').x_range; return end - start"
    whole = tab.evaluate(f"() => {{ {PART} {span} }}")
    for text, left in (("model-1 set1", 6), ("no such model", 0), ("", 33)):
        tab.fill("#search", text)
        assert len(marks(tab)) == left and tab.locator(".dt-info").inner_text().startswith(f"{left} of 33 models")
        assert (f"{left} dots" if left else "No model has both numbers.") in tab.locator("#said").inner_text()
        if left == 6:
            assert [hovered(tab, n)[0] for n in marks(tab)] == [names[n] for n in marks(tab)]
            assert hovered(tab, first) == hovered(tab, last) == [], "what the filter left out does not answer"
            assert tab.evaluate(f"() => {{ {PART} {span} }}") < whole
    assert [hovered(tab, n)[0] for n in (first, last)] == [names[n] for n in (first, last)]
    assert tab.noted == []


def test_the_plot_by_keyboard_and_in_both_colour_schemes(tab: Any) -> None:
    first = marks(tab)[0]
    span = "[part('plot').x_range.start, part('plot').x_range.end]"
    low, high = tab.evaluate(f"{PART} {span}")
    tab.get_by_role("button", name="zoom in").press("Enter")
    tab.wait_for_function(f"() => {{ {PART} return part('plot').x_range.start > {low} && part('plot').x_range.end < {high} }}")
    tab.get_by_role("button", name="whole").press("Enter")
    tab.wait_for_function(f"() => {{ {PART} return part('plot').x_range.start == {low} && part('plot').x_range.end == {high} }}")
    assert hovered(tab, first)
    tab.mouse.down()
    tab.mouse.up()
    tab.wait_for_function("() => document.activeElement.id == 'search'")
    assert tab.locator("#models tbody tr").count() == 1
    for scheme, ink in (("dark", "#e8eaed"), ("light", "#1a1a1a")):
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_function(f"() => {{ {PART} return part('across').axis_label_text_color == '{ink}' }}")
    assert tab.noted == []


def test_hostile_names_stay_text_in_the_plot(browser: Any, tmp_path: Path) -> None:
    extra = Row(entry=f"{TAGS}-0", dataset="set0", attack="membership/<b>quiet<br>&lt;$$x$$", metric="auc", value=0.7)
    with opened(browser, write_page([], [*rows(2, TAGS), extra], tmp_path / "page.html")) as tab:
        title = next(text for text in tab.locator("#y option").all_inner_texts() if "quiet" in text)
        marks(tab)
        tab.select_option("#y", label=title)
        (mark,) = marks(tab)
        lines = hovered(tab, mark)
        assert lines[:2] == [f"{TAGS}-0", "set0"] and lines[3] == f"{title}: 0.7" and "<b>quiet<br>&lt;$$x$$" in title
        assert tab.evaluate(f"{PART} part('up').axis_label") == title
        assert title in tab.locator("#models thead .dt-column-title").all_text_contents()
        assert tab.locator("#explorer a[href^=http]").count() == 0 and tab.locator("#explorer b").count() == 0
        assert tab.noted == []


def test_axe_finds_nothing_serious(tab: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    marks(tab)
    found = axe.Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_the_claims(browser: Any, tmp_path: Path, width: int) -> None:
    from securitynet.report.claims import study
    from securitynet.report.claims.page import write_study
    from securitynet.report.measure_table import published_rows

    given = [row for row in published_rows("zhang2024") if row.dataset == "CUB-200-2011"]
    write_study(study(given), tmp_path, given)
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    with opened(browser, tmp_path / "index.html", width) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == width and not [
            one for one in tab.noted if not one.startswith("data:")
        ]
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert axe.Axe().run(tab).response["violations"] == []
