"""The report and the leaderboard: what stands on the pages, that hostile text stays text."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_rows import HOSTILE, add_families, rows

import securitynet
from securitynet.cli import main
from securitynet.entry import Entry
from securitynet.errors import UsageError
from securitynet.report.measure_table import measure_table
from securitynet.report.page import libraries
from securitynet.report.page.html import link, render
from securitynet.report.page.leaderboard import write_leaderboard
from securitynet.report.page.report_page import write_csv, write_page
from securitynet.report.saved_result import read_saved
from securitynet.results.row import Row


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real evaluation, saved, with a stealing curve and a recovered trigger."""
    result = securitynet.evaluate("builtin/digits-overfit", attacks=["membership/loss", "membership/correctness"])
    return add_families(result.save(tmp_path_factory.mktemp("saved") / "overfit"))


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of that evaluation and of thirty invented models, some with hostile names."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    shown = [*read_saved(folder).rows, *rows(), *rows(2, HOSTILE)]
    return write_page([folder], shown, path)


def data_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    assert found
    value: dict[str, Any] = json.loads(found[1])
    return value


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


class Scripts(HTMLParser):
    """The text of every script of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script":
            self.found.append(data)


def test_the_page_says_what_the_result_says(page: Path, folder: Path) -> None:
    text, saved = page.read_text(encoding="utf-8"), read_saved(folder)
    for row in saved.rows:
        if row.attack == "membership/loss" and row.metric == "auc" and row.value is not None and row.ci_low is not None:
            assert f"{row.value:.4f} <span>[{row.ci_low:.3f}, {row.ci_high:.3f}]</span>" in text
    assert saved.summary["meaning"] in text and "accuracy 69.63% agrees with the claim" in text
    assert saved.rows[0].weights_sha256 in text  # type: ignore[operator]
    assert "loss AUC falls with target accuracy on set0" in text
    assert 'aria-label="ROC curves of builtin/digits-overfit"' in text
    assert "With 1,000 queries the copy agrees with the model on 90.0% of the images" in text
    assert "does not look backdoored (p 0.4); the likeliest target is class 3" in text and 'alt="trigger recovered for class 3' in text
    assert "<caption>price</caption>" in text


def test_the_page_asks_nobody_for_anything(page: Path) -> None:
    elements = Elements(page.read_text(encoding="utf-8")).found
    sources = [value for _, attrs in elements for name, value in attrs.items() if name in ("src", "srcset", "action", "poster", "data")]
    assert sources and all(str(source).startswith("data:image/png;base64,") for source in sources)
    assert {str(attrs.get("href"))[:5] for tag, attrs in elements if tag == "link"} == {"data:"}
    policy = next(attrs["content"] for tag, attrs in elements if attrs.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'") and "script-src 'sha256-" in str(policy)


def test_libraries_are_the_installed_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    pages = Scripts(text).found
    for library, part in (("bokeh", "server/static/js/bokeh.min.js"), ("itables", "html/dt_bundle.js")):
        package = pytest.importorskip(library, reason=f"the page needs {library}")
        start = (Path(package.__file__).parent / part).read_text(encoding="utf-8")[:50_000]
        (script,) = [script for script in pages if start in script]
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in text[: text.index("<style>")]
    assert text.count("sha256-") == 3


@pytest.mark.parametrize(("module", "name"), [("bokeh.resources", "bokeh"), ("itables", "itables")])
def test_libraries_are_needed(module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"need {name}, .* pip install 'securitynet\[plots\]'"):
        write_page([], rows(2), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_datatables_packed_in_another_way_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "JQUERY", re.compile("export default"))
    with pytest.raises(UsageError, match="packs DataTables in a way"):
        libraries.datatables()


def test_hostile_names_stay_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    elements = Elements(text).found
    assert [attrs.get("type") for tag, attrs in elements if tag == "script"] == [
        "application/json",
        "application/json",
        None,
        "text/plain",
        None,
    ]
    assert not [tag for tag, attrs in elements if any(name.startswith("on") for name in attrs)]
    assert {str(attrs["src"])[:15] for tag, attrs in elements if tag == "img"} == {"data:image/png;"}
    assert f"{HOSTILE}-0" in [row[0] for row in data_of(page)["rows"]]


def test_links_are_to_the_web_only() -> None:
    assert link("https://example.org/a") == "https://example.org/a"
    others = ("javascript:alert(1)", "data:text/html,x", "file:///etc", "//x", "http://", None, "https://[")
    assert [link(one) for one in others] == [None] * 7


def test_a_hostile_record_and_verdict_stay_text(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    row = Row(entry=HOSTILE, dataset=HOSTILE, attack=f"membership/{HOSTILE}", metric="auc", value=0.6, reason=HOSTILE)
    (folder / "rows.jsonl").write_text(json.dumps(row.to_record()) + "\n")
    record = {
        "id": HOSTILE,
        "dataset": HOSTILE,
        "licence": HOSTILE,
        "paper_url": "javascript:alert(1)",
        "paper_title": HOSTILE,
    }
    (folder / "entry.json").write_text(json.dumps(record))
    (folder / "verify.json").write_text(json.dumps({"status": HOSTILE, "cause": HOSTILE, "notes": [HOSTILE]}))
    (folder / "summary.json").write_text(json.dumps({"meaning": HOSTILE}))
    elements = Elements(write_page([folder], [row], tmp_path / "page.html").read_text(encoding="utf-8")).found
    assert not [tag for tag, attrs in elements if tag == "img" or any(name.startswith("on") for name in attrs)]
    assert not [attrs for tag, attrs in elements if tag == "a" and not str(attrs["href"]).startswith("#")]
    assert len([tag for tag, _ in elements if tag == "script"]) == 5


def test_place_among_published_models(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    row = Row(
        entry="own/a", dataset="CIFAR-10", attack="membership/modified_entropy", params='{"held_out":false}', metric="auc", value=0.56
    )
    (folder / "rows.jsonl").write_text(json.dumps(row.to_record()) + "\n")
    text = write_page([folder], [row], tmp_path / "page.html").read_text(encoding="utf-8")
    values = [one["value"] for one in securitynet.catalog.results("CIFAR-10") if (one["attack"], one["metric"]) == (row.attack, "auc")]
    assert len(values) == 119
    assert f"0.5600: higher than {sum(value < 0.56 for value in values)} of 119 published models on CIFAR-10" in text


def test_csv_holds_every_number_and_runs_nothing(tmp_path: Path) -> None:
    shown = [*rows(3), Row(entry="=cmd()", dataset="d", attack="a", metric="m", value=-1.0)]
    with write_csv(shown, tmp_path / "rows.csv").open(encoding="utf-8", newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert [float(line["value"]) for line in lines] == [row.value for row in shown] and lines[-1]["entry"] == "'=cmd()"


def test_leaderboard_and_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = Row(entry="own/none", dataset="set0", attack="verify", metric="test_accuracy", value=0.5)
    paths = write_leaderboard([*rows(), bare], tmp_path / "board")
    board = data_of(paths[0])
    assert len(board["rows"]) == 30 and "sdk: static" in paths[1].read_text(encoding="utf-8")
    assert [one["title"] for one in board["columns"]][-3:] == ["target accuracy", "loss AUC", "entropy AUC"]
    with pytest.raises(UsageError, match="nothing to rank"):
        write_leaderboard([], tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row.to_record()) + "\n" for row in rows()))
    assert main(["leaderboard", str(source), "--output", str(tmp_path / "cli")]) == 0
    assert main(["report", str(source), "--output", str(tmp_path / "r.html"), "--csv", str(tmp_path / "r.csv")]) == 0
    assert (tmp_path / "r.html").is_file() and (tmp_path / "r.csv").is_file()
    assert main(["report", str(tmp_path / "none")]) == 2
    capsys.readouterr()


def test_figures_of_ones_own_curves(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    assert main(["report", str(folder), "--figures", str(tmp_path), "--formats", "svg", "--json"]) == 0
    names = [Path(path).name for path in json.loads(capsys.readouterr().out)]
    assert {"roc-builtin-digits-overfit.svg", "stealing-builtin-digits-overfit.svg"} <= set(names)
    text = (tmp_path / "stealing-builtin-digits-overfit.svg").read_text(encoding="utf-8")
    assert "Agreement with the target" in text and "1,000" in text
    empty = tmp_path / "rows.jsonl"
    empty.write_text(json.dumps(Row(entry="own/a", attack="other/x", metric="m", value=1.0).to_record()) + "\n")
    assert main(["report", str(empty), "--figures", str(tmp_path)]) == 2 and "nothing to draw" in capsys.readouterr().err


def test_entries_without_metadata_and_with(tmp_path: Path) -> None:
    table = measure_table(rows(2), {"own/model-0": Entry(id="own/model-0", purpose="benchmark", licence="MIT", year=2020, family="vgg")})
    assert list(table.frame["purpose"]) == ["benchmark", "unstated"]


def test_render_needs_every_value() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("board.html.j2", models=1)


def test_a_brace_in_the_name_of_an_attack_is_part_of_it() -> None:
    from securitynet.report.measure_table import parts_of

    assert parts_of("membership/a{x}:auc") == ("membership/a{x}", {}, "auc")
    assert parts_of('membership/a{"k":2}:auc') == ("membership/a", {"k": 2}, "auc")
