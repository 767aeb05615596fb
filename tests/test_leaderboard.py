"""The leaderboard: ranks and what intervals allow, what is left out, the page in a browser, the folder as a static Space."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import Hub
from report_rows import HOSTILE, rows, stealing
from test_report_browser import browser, opened  # noqa: F401 - browser is a fixture

from securitynet.cli import main
from securitynet.errors import UsageError
from securitynet.hub import push_board
from securitynet.metrics.vocabulary import VOCABULARY
from securitynet.report.page.leaderboard import write_leaderboard
from securitynet.report.page.ranking import Ranking, rankings
from securitynet.results.row import Row


def row(entry: str, value: float | None, low: float | None = None, high: float | None = None, **changes: Any) -> Row:
    given: dict[str, Any] = {"dataset": "d", "family": "membership", "attack": "membership/loss", "metric": "auc", "n": 100}
    return Row(entry=entry, value=value, ci_low=low, ci_high=high, **(given | changes))


def one(found: list[Ranking], **facts: Any) -> Ranking:
    (match,) = [ranking for ranking in found if all(getattr(ranking, name) == value for name, value in facts.items())]
    return match


def test_ranks_and_the_ranks_that_intervals_allow() -> None:
    """Counted by hand: a lies wholly below c and d, b overlaps a and c, e has no interval."""
    values = [
        row("a", 0.52, 0.50, 0.54),
        row("b", 0.55, 0.53, 0.60),
        row("c", 0.58, 0.56, 0.62),
        row("d", 0.80, 0.70, 0.90),
        row("e", 0.55),
    ]
    (found,) = rankings(values)
    standings = {own.entry: (own.rank, own.best, own.worst) for own in found.standings}
    assert standings == {"a": (1, 1, 2), "b": (2, 1, 4), "e": (2, None, None), "c": (4, 3, 4), "d": (5, 5, 5)}
    assert [own.entry for own in found.standings] == ["a", "b", "e", "c", "d"]


def test_the_direction_is_that_of_the_vocabulary() -> None:
    facts: dict[str, Any] = {"family": "stealing", "attack": "stealing/knockoff", "metric": "kl", "budget": 100}
    (found,) = rankings([row("a", 0.1, **facts), row("b", 0.4, **facts)])
    assert VOCABULARY["kl"].better == "higher" and [own.entry for own in found.standings] == ["b", "a"]
    assert found.attack == "stealing/knockoff, 100 queries"


def test_what_is_ranked_together() -> None:
    """One dataset, attack with its settings, budget, metric and origin each; controls and suspects never."""
    suspect = row("bad", 0.9, status="suspect", reason="constant predictor")
    rates = [row(name, value, metric="tpr_at_fpr_0.001") for name, value in (("a", 0.01), ("b", 0.02))]
    accuracy = row("a", 0.8, family="verify", attack="verify", metric="test_accuracy", weights_sha256="1")
    control = row("a", 0.6, attack="control/pixels")
    other = [row("a", 0.5, dataset="e"), row("a", 0.5, origin="zhang2024"), row("a", 0.7, params='{"epochs":3}')]
    old = [
        row("a", 0.9, date="2020-01-01T00:00:00", weights_sha256="1"),
        row("a", 0.6, date="2021-01-01T00:00:00", weights_sha256="1", seed=2),
    ]
    found = rankings([*old, row("b", 0.55), suspect, *rates, accuracy, control, *other, *stealing(), row("c", None, status="skipped")])
    assert len([ranking for ranking in found if ranking.metric == "auc"]) == 4
    main_one = one(found, dataset="d", metric="auc", origin="securitynet", attack="loss")
    assert [(own.entry, own.value, own.date) for own in main_one.standings] == [("b", 0.55, None), ("a", 0.6, "2021-01-01")]
    assert main_one.left_out == ("bad",) and main_one.beside == ("tpr_at_fpr_0.001", "test_accuracy")
    assert main_one.standings[0].beside == (0.02, None)
    budgets = {ranking.attack for ranking in found if ranking.metric == "agreement"}
    assert budgets == {"stealing/knockoff, 1,000 queries", "stealing/knockoff, 100 queries"}
    assert not {"control_agreement", "images_seen", "queries", "test_accuracy"} & {ranking.metric for ranking in found}


def test_the_folder_holds_every_row(tmp_path: Path) -> None:
    import pyarrow.parquet

    from securitynet.results.row import row_features

    own = [*rows(), row("=cmd()", 0.5), row("x", None, status="skipped", reason="why")]
    paths = write_leaderboard(own, tmp_path)
    assert [path.name for path in paths] == ["index.html", "README.md", "rows.csv", "rows.parquet"]
    table = pyarrow.parquet.read_table(paths[3])
    assert table.column("row_id").to_pylist() == [row.row_id for row in own] and table.column_names == list(row_features())
    with paths[2].open(encoding="utf-8", newline="") as handle:
        assert [line["entry"] for line in csv.DictReader(handle)][-2:] == ["'=cmd()", "x"]
    with pytest.raises(UsageError, match="nothing to rank"):
        write_leaderboard([row("a", 0.9, status="suspect")], tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty-two models of two datasets with intervals, two attacks, hostile names, one that failed verification."""
    found = [row(f"own/model-{k}", 0.5 + k / 200, 0.48 + k / 200, 0.52 + k / 200, weights_sha256=f"{k:064x}") for k in range(60)]
    found += [row(f"{HOSTILE}-{k}", 0.5 + k / 10, date="2026-01-02T03:04:05") for k in range(2)] + [row("bad", 0.9, status="suspect")]
    found += [row(f"own/model-{k}", k / 100, metric="tpr_at_fpr_0.01") for k in range(60)]
    found += [row(f"own/model-{k}", 0.5 + k / 100, dataset="other") for k in range(4)] + [
        row("own/model-1", 0.6, attack="membership/entropy")
    ]
    return write_leaderboard(found, tmp_path_factory.mktemp("board"))[0]


@pytest.fixture(params=[1280, 390])
def tab(request: pytest.FixtureRequest, browser: Any, board: Path) -> Iterator[Any]:  # noqa: F811
    """The board, wide and light or narrow and dark."""
    with opened(browser, board, request.param) as found:
        yield found


def test_in_a_browser(tab: Any) -> None:
    assert tab.evaluate("document.documentElement.scrollWidth") == tab.viewport_size["width"]
    lines = tab.locator("#ranks tbody tr")
    assert lines.count() == 50 and "62 of 62 models on d, by loss, measured by securitynet" in tab.locator("#counted").inner_text()
    text = lines.nth(2).inner_text()
    assert "own/model-1" in text and "0.5050" in text and "0.4850 to 0.5250" in text and "0.00 %" not in text and "000000000000" in text
    assert VOCABULARY["auc"].sentence in tab.locator("#meaning").inner_text()
    assert "Lower is better" in tab.locator("#meaning").inner_text() and "bad" in tab.locator("#left-out").inner_text()
    tab.get_by_role("button", name="show more").click()
    assert lines.count() == 62
    tab.fill("#wanted", "script")
    assert lines.count() == 2 and tab.title() == "securitynet leaderboard"
    tab.fill("#wanted", "")
    tab.select_option("#of-attack", label="entropy")
    assert lines.count() == 1 and "by entropy" in tab.locator("#counted").inner_text()
    tab.select_option("#of-dataset", label="other")
    assert lines.count() == 4 and "by loss" in tab.locator("#counted").inner_text(), "what the dataset does not have is chosen anew"
    assert tab.noted == []


def test_a_ranking_as_csv(tab: Any) -> None:
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="CSV of this ranking").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines()))
    assert len(lines) == 62 and waiting.value.suggested_filename == "d-loss-auc.csv"
    first = next(line for line in lines if line["model"] == "own/model-3")
    assert (first["auc"], first["ci_low"], first["n"], first["weights_sha256"]) == ("0.515", "0.495", "100", f"{3:064x}")
    for name in ("rows.csv", "rows.parquet"):
        assert tab.locator(f"a[download][href='{name}']").count() == 1


def test_a_pooled_plot_has_its_warning(tab: Any) -> None:
    tab.locator("#scatter").scroll_into_view_if_needed()
    tab.wait_for_function("() => typeof Bokeh !== 'undefined' && Bokeh.documents[0]?.idle && document.getElementById('said').textContent")
    tab.select_option("#x", label="loss AUC")
    tab.select_option("#y", label="loss AUC")
    warning = tab.locator("#pooled")
    assert warning.is_visible() and "Pooled over 2 datasets" in warning.inner_text()
    assert tab.locator("#datasets li").all_inner_texts() == ["d", "other"]
    colours = tab.evaluate("() => [...new Set(Bokeh.documents[0].get_model_by_name('marks').data.c)]")
    assert len(colours) == 2, "one per dataset"
    tab.select_option("[data-filter='1']", label="other")
    assert not warning.is_visible() and tab.locator("#datasets li").all_inner_texts() == ["other"]
    assert tab.noted == []


def test_axe_finds_nothing(tab: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(tab).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_columns_say_what_they_are(board: Path) -> None:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', board.read_text(encoding="utf-8"), re.S)
    assert found
    columns = {column["title"]: column.get("help") for column in json.loads(found[1])["columns"]}
    assert columns["loss AUC"] == VOCABULARY["auc"].sentence and columns["loss TPR at 1 % FPR"] == VOCABULARY["tpr_at_fpr_0.01"].sentence


def test_a_static_space(hub: Hub, board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub import HfApi, SpaceCard, hf_hub_download

    repo, folder = "tester/board", board.parent
    assert main(["push", "board", str(folder), "--to", repo]) == 0 and "4 files" in capsys.readouterr().out
    assert hub.repo("spaces", repo).sdk == "static" and SpaceCard.load(repo).data.sdk == "static"
    for name in ("index.html", "rows.csv", "rows.parquet"):
        assert Path(hf_hub_download(repo, name, repo_type="space")).read_bytes() == (folder / name).read_bytes()
    assert push_board(folder, repo).files == 0
    own = "---\ntitle: Our board\nemoji: x\nsdk: static\n---\nOurs.\n"
    HfApi().upload_file(repo_id=repo, repo_type="space", path_or_fileobj=own.encode(), path_in_repo="README.md")
    HfApi().upload_file(repo_id=repo, repo_type="space", path_or_fileobj=b"x", path_in_repo="extra.txt")
    again = write_leaderboard([row("own/a", 0.5), row("own/b", 0.6)], tmp_path)[0].parent
    assert push_board(again, repo).files == 3
    assert Path(hf_hub_download(repo, "README.md", repo_type="space")).read_text() == own
    assert "extra.txt" in HfApi().list_repo_files(repo, repo_type="space")
    assert main(["push", "board", str(tmp_path / "none"), "--to", repo]) == 2 and "it lacks README.md" in capsys.readouterr().err
