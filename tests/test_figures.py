"""Figures drawn from the released rows show the published points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from securitynet.entry import Entry
from securitynet.report.figures import study as figures
from securitynet.report.findings.released_tables import COLUMNS
from securitynet.report.measure_table import GAP, TEST, MeasureTable, measure_table, published_rows
from securitynet.results.row import Row

pytest.importorskip("matplotlib", reason="figures need matplotlib")
POINTS = Path(__file__).parents[2] / "shared" / "reference" / "paper-figure-points.json"
STEALING, ENTROPY, CORRECT = (COLUMNS[name] for name in ("Model Stealing Accuracy", "M_entropy AUC", "Correct Auc"))
DATASETS = {"blue": "CIFAR-10", "orange": "SVHN", "green": "CIFAR-100", "red": "ImageNet-1k", "purple": "CUB-200-2011"}


@pytest.fixture(scope="module")
def table() -> MeasureTable:
    return measure_table(row for row in published_rows() if row.origin == "zhang2024")


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    """Points read off the published figures, by figure-panel-colour."""
    if not POINTS.is_file():
        pytest.skip("the points of the published figures are not here")
    return {key: np.asarray(points) for key, points in json.loads(POINTS.read_text(encoding="utf-8")).items()}


def drawn(figure: object) -> dict[str, np.ndarray]:
    """The points of every scatter by its gid."""
    return {one.get_gid(): np.asarray(one.get_offsets()) for axes in figure.axes for one in axes.collections if one.get_gid()}  # type: ignore[attr-defined]


def distances(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """How far each point is from the nearest of the others: the larger of both coordinates."""
    return np.abs(points[:, None] - to[None]).max(axis=2).min(axis=1)


def test_figure_2_shows_the_published_points(table: MeasureTable, published: dict[str, np.ndarray]) -> None:
    found = drawn(figures.stealing_figure(table))
    panels = {"CIFAR-10": "0-blue", "SVHN": "1-blue", "CIFAR-100": "2-blue", "ImageNet-1k": "2-orange", "CUB-200-2011": "2-green"}
    away = {
        name: distances(found[f"{name}|benchmark|{TEST}|{STEALING}"], published[f"modsteal1-{panel}"]) for name, panel in panels.items()
    }
    assert {name: len(one) for name, one in away.items()} == dict(zip(panels, (47, 40, 45, 117, 14), strict=True))
    assert max(away["CIFAR-10"].max(), away["SVHN"].max()) < 0.001
    assert sum((one < 0.003).sum() for one in away.values()) >= 240


def test_figure_4_shows_the_published_points(table: MeasureTable, published: dict[str, np.ndarray]) -> None:
    found = drawn(figures.datasets_figure(table))
    near = {}
    for name, panel in (("CIFAR-100", 0), ("ImageNet-1k", 1)):
        near[name] = (distances(found[f"{name}|benchmark|{GAP}|{ENTROPY}"], published[f"member2-{panel}-green"]) < 0.003).sum()
    assert near["CIFAR-100"] == 45 and near["ImageNet-1k"] >= 98  # of 104, the rest lie under others
    birds = found[f"CUB-200-2011|benchmark|{GAP}|{ENTROPY}"]
    assert birds[:, 0].min() > 0.27  # the true level, not minus the target accuracy as published
    lines = table.frame[(table.frame["dataset"] == "CUB-200-2011")]
    mistaken = np.column_stack([-lines[TEST], lines[ENTROPY]]).astype(float)
    assert distances(mistaken, published["member2-2-green"]).max() < 0.001


@pytest.mark.parametrize(("panel", "measure", "share"), [(0, CORRECT, 0.9), (1, ENTROPY, 0.75)])
def test_figure_3_shows_the_published_points(
    table: MeasureTable, published: dict[str, np.ndarray], panel: int, measure: str, share: float
) -> None:
    """Few single dots can be read off this figure, and some are of models that were never released: so from the dots to the rows."""
    found = drawn(figures.attacks_figure(table))
    away = np.concatenate(
        [distances(published[f"member1-{panel}-{colour}"], found[f"{name}|benchmark|{GAP}|{measure}"]) for colour, name in DATASETS.items()]
    )
    assert (away < 0.003).mean() >= share and len(away) >= 43


def test_figure_1_counts(table: MeasureTable) -> None:
    figure = figures.statistics_figure(table)
    assert figure is not None
    shown = [
        {label.get_text(): int(bar.get_width()) for label, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)}
        for axes in figure.axes
    ]
    assert (shown[1]["resnet"], shown[1]["preresnet"], shown[2]["resnet"], shown[2]["vgg"]) == (48, 40, 46, 38)
    assert figure.get_suptitle() == "Statistics of 529 attacked models"
    assert figure.axes[5].get_xlabel() == "models (n 529; 9 of 22 shown)"
    assert (shown[5]["ImageNet-1k"], shown[5]["CIFAR-10"], sum(shown[0].values())) == (117 + 20, 47 + 72, 24)


def test_figure_2_has_common_axes_fits_and_counts(table: MeasureTable) -> None:
    figure = figures.stealing_figure(table)
    assert figure is not None and len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1
    [axes] = [one for one in figure.axes if one.get_title(loc="left") == "CIFAR-100"]
    lines = table.frame[(table.frame["dataset"] == "CIFAR-100") & (table.frame["purpose"] == "benchmark")]
    expected = stats.linregress(lines[TEST], lines[STEALING])
    [drawn_line] = axes.lines
    assert np.polyfit(*drawn_line.get_data(), 1) == pytest.approx([expected.slope, expected.intercept])
    [label] = [text.get_text() for text in axes.get_legend().get_texts()]
    assert label.startswith(f"benchmark: rho {stats.spearmanr(lines[TEST], lines[STEALING]).statistic:+.2f} [") and label.endswith(", n 45")


def test_fits_leave_out_what_is_known_to_be_wrong(table: MeasureTable) -> None:
    figure = figures.stealing_figure(table)
    assert figure is not None
    legends = {axes.get_title(loc="left"): [text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes}
    assert len(drawn(figure)[f"ImageNet-1k|benchmark|{TEST}|{STEALING}"]) == 117 and legends["ImageNet-1k"][0].endswith(", n 116")
    assert legends["bloodmnist"] == ["other: n 6"]  # too few for a line


@pytest.mark.parametrize("name", figures.FIGURES)
def test_no_label_is_cut_and_none_covers_another(table: MeasureTable, name: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = figures.FIGURES[name](table)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page, renderer = figure.bbox, canvas.get_renderer()
    for axes in (one for one in figure.axes if one.axison):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
            boxes = [label.get_window_extent(renderer) for place, label in ticks if low <= place <= high and label.get_text()]
            assert boxes and all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)
            assert not any(first.overlaps(second) for number, first in enumerate(boxes) for second in boxes[:number])
    captions = [text.get_window_extent(renderer) for axes in figure.axes for text in axes.texts if ": " in text.get_text()]
    assert not any(first.overlaps(second) for number, first in enumerate(captions) for second in captions[:number])


def test_files_are_written_and_do_not_change(table: MeasureTable, tmp_path: Path) -> None:
    small = measure_table(row for row in published_rows() if row.origin == "zhang2024" and row.dataset == "CUB-200-2011")
    first, again = (figures.draw(small, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == [f"{name}{suffix}" for name in figures.FIGURES for suffix in (".png", ".svg")]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    notes = (tmp_path / "a" / "figure-4-datasets.svg").read_text(encoding="utf-8")
    assert "drawn over the true level" in notes


def test_mlp_panels_come_from_rows_of_ones_own(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        for attack, params, metric in (
            ("verify", "{}", "overfit_gap"), ("membership/mlp", '{"top":3}', "auc"), ("membership/correctness", "{}", "auc")
        ):  # fmt: skip
            rows.append(Row(entry=f"own/${number}$", dataset="$x_1$", attack=attack, params=params, metric=metric, value=0.5 + number / 99))
    figure = figures.attacks_figure(measure_table(rows, {f"own/${number}$": Entry(id="a") for number in range(12)}))
    assert figure is not None and [axes.get_title(loc="left") for axes in figure.axes] == ["prediction-correctness", "mlp AUC (top 3)"]
    assert figures.draw(measure_table(rows[:1], {}), tmp_path) == [] and not list(tmp_path.iterdir())
