"""The report of an audit in a real browser: its first screen, folded details, both widths and colour schemes, axe without findings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audited import CONTEXT, ENTRY, backdoor, membership, saved, stealing, verify_rows
from test_report_browser import browser as browser  # the same browser
from test_report_browser import opened

from securitynet.metrics.intervals import Estimate
from securitynet.metrics.vocabulary import OVERFIT_GAP
from securitynet.report.audit import RISKS, audit_of
from securitynet.report.audit.contents import Contents, File
from securitynet.results.row import Row


def on_cifar(row: Row) -> Row:
    """The same row, of CIFAR-10 and of the attack that is published of other models."""
    attack = "membership/modified_entropy" if row.family == "membership" else row.attack
    return replace(row, dataset="CIFAR-10", attack=attack, scope="all" if row.family == "membership" else row.scope)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything: files, place among public models, curves, a verdict."""
    folder = tmp_path_factory.mktemp("audit")
    rows, arrays = membership(3000, 0.6)
    rows += [*verify_rows(), CONTEXT.row("verify", "verify", Estimate(OVERFIT_GAP, 0.08, 1000, 0.07, 0.09))]
    rows += [*stealing(1000, 0.8, 0.7), *stealing(5000, 0.9, 0.8), *backdoor(0.004)]
    for one in arrays:
        one["attack"] = np.asarray("membership/modified_entropy")
    weights = File("model.safetensors", 288_296, "safetensors", "0" * 64, weights=True)
    found = saved(folder, [on_cifar(row) for row in rows], arrays, ENTRY)
    return audit_of(found, Contents("hf-hub:ORG/NAME", (weights,), "mit", pin=f"commit {'0' * 40}")).save(folder / "audit.html")


@pytest.mark.parametrize("width", [1280, 390])
def test_first_screen_and_details(browser: Any, page: Path, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    with opened(browser, page, width) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
        assert tab.locator(".decision strong").inner_text() == "Do not admit" and tab.locator(".risks li").count() == len(RISKS)
        last = tab.locator(".risks li").last.bounding_box()
        assert last["y"] + last["height"] < 900, "all risks are on the first screen"
        assert tab.locator("details[open]").count() == 0 and tab.locator(".lanes .mine-dot").count() == 2
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.locator("#membership svg, #stealing svg").count() > 2
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            found = axe.Axe().run(tab).response["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert tab.noted == []
