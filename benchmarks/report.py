"""How long the report of 5,000 models x 40 metrics takes to build, and how fast its page is; prints one line per number.

usage: python benchmarks/report.py [--browser /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from securitynet.report.page.leaderboard import write_leaderboard
from securitynet.report.page.report_page import write_page
from securitynet.results.row import Row

MODELS, METRICS, DATASETS = 5000, 40, 5
REPEATS = 7  # of which the median is told
FILTER = """text => { const start = performance.now(); const box = document.getElementById('search'); box.value = text;
  box.dispatchEvent(new Event('input')); document.body.offsetHeight; return performance.now() - start }"""
PLOT = """text => new Promise(done => { const start = performance.now(); const box = document.getElementById('search');
  const view = Bokeh.index.get(Bokeh.documents[0].get_model_by_name('plot'));
  const drawn = () => { view.repainted.disconnect(drawn); requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))) };
  view.repainted.connect(drawn); box.value = text; box.dispatchEvent(new Event('input')) })"""  # until the next frame
DRAWN = "() => typeof Bokeh !== 'undefined' && Bokeh.documents[0]?.get_model_by_name('others').indices.length"
SEARCHES = ("model-42", "model-4", "")  # leave 111, 1,111 and all models
USABLE = "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"


def rows(models: int = MODELS, metrics: int = METRICS) -> list[Row]:
    """Return rows of invented models: accuracies, and membership AUCs that follow them more or less."""
    rng = np.random.default_rng(0)
    skill = rng.uniform(0.5, 0.95, models)
    attacks = rng.uniform(-0.3, 0.3, metrics - 2)
    found = []
    for number in range(models):
        name, dataset = f"own/model-{number}", f"set{number % DATASETS}"
        values = {("verify", "test_accuracy"): skill[number], ("verify", "overfit_gap"): (1 - skill[number]) * rng.uniform(0.2, 0.9)}
        values |= {
            (f"membership/attack{place}", "auc"): 0.6 + slope * (skill[number] - 0.7) + rng.normal(0, 0.03)
            for place, slope in enumerate(attacks)
        }
        found += [
            Row(entry=name, dataset=dataset, attack=attack, metric=metric, value=float(value)) for (attack, metric), value in values.items()
        ]
    return found


BUILDERS: dict[str, Callable[[list[Row], Path], object]] = {
    "report": lambda made, folder: write_page([], made, folder / "report.html"),
    "leaderboard": write_leaderboard,
}


def main() -> None:
    """Build both pages, open the report where a browser is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", metavar="PATH")
    args = parser.parse_args()
    made = rows()
    with tempfile.TemporaryDirectory() as folder:
        for name, build in BUILDERS.items():
            start = time.perf_counter()
            build(made, Path(folder))
            sys.stdout.write(f"{name}: {time.perf_counter() - start:.1f} s\n")
        page = Path(folder) / "report.html"
        sys.stdout.write(f"size: {page.stat().st_size / 1e6:.1f} MB\n")
        if args.browser:
            _open(page, args.browser)


def _open(page: Path, browser: str) -> None:
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=options)
        tab = opened.new_page()
        tab.goto(page.as_uri())
        sys.stdout.write(f"first paint {tab.evaluate(PAINT):.0f} ms, table usable {tab.evaluate(USABLE):.0f} ms\n")
        for code, what in ((FILTER, "table"), (PLOT, "table and plot")):
            times = np.median([[tab.evaluate(code, text) for text in SEARCHES] for _ in range(REPEATS)], axis=0).round()
            sys.stdout.write(f"{what} filtered to 111, 1,111, all models: {times} ms\n")
            tab.locator("#scatter").scroll_into_view_if_needed()
            tab.wait_for_function(DRAWN)
        opened.close()


if __name__ == "__main__":
    main()
