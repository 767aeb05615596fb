"""The four figures of the study of 2024, for any set of measurements; needs matplotlib (the extra `plots`).

Each function returns a matplotlib Figure; every scatter carries `dataset|purpose|x|y` as its gid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.metrics.vocabulary import ACCURACY, AUC
from securitynet.report.figures.panels import BLUE, bars, captions, chance, dress, fit, legend_above, panels, scatter, shared_legend
from securitynet.report.figures.roc import COLOURS, drawable, write_figure
from securitynet.report.findings.hypotheses import untestable
from securitynet.report.findings.model_counts import counts_of
from securitynet.report.findings.shared_terms import definition
from securitynet.report.measure_table import GAP, TEST, MeasureTable, parts_of, titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from securitynet.entry import Entry

MARKERS = {"benchmark": ("o", BLUE), "security": ("^", "#D55E00"), "other": ("s", "#009E73"), "unstated": ("D", "#CC79A7")}
FITTED = (
    "Lines: least squares with a 95 % band; rho: Spearman's with a 95 % interval; both leave out clusters of related models one at a time. "
    "Models whose published numbers are known to be wrong are drawn and not fitted."
)
SHOWN_BARS, SHOWN_PANELS = 9, 12
CURVES = ("membership/correctness", "membership/modified_entropy", "membership/mlp")


def draw(table: MeasureTable, folder: Path, suffixes: Sequence[str] = (".png", ".svg")) -> list[Path]:
    """Draw every figure that the measurements allow into `folder`; return the paths, none where there is nothing to draw.

    Raises UsageError where matplotlib is not installed.
    """
    made = {name: figure for name, make in FIGURES.items() if (figure := make(table)) is not None}
    paths = [drawable(folder / f"{name}{suffix}") for name in made for suffix in suffixes]
    for path in paths:
        write_figure(made[path.stem], path)
    return paths


def statistics_figure(table: MeasureTable) -> Figure | None:
    """Figure 1: what was measured: years, model types (benchmark, security), countries and venues, datasets. None without records."""
    entries = {id: table.entries[id] for id in table.frame["entry"] if id in table.entries and table.attacks()}
    measured = table.frame[table.frame[table.attacks()].notna().any(axis=1)]
    entries = {id: one for id, one in entries.items() if id in set(measured["entry"])}
    if not entries:
        return None
    types = _types(list(entries.values()))
    kinds = {purpose: [one for one in entries.values() if one.purpose == purpose] for purpose in ("benchmark", "security")}
    shown = (
        ("a  Year of the paper", ("model types", _stated(types, "year")), sorted(_counted(types, lambda one: one.year).items())),
        ("b  Benchmark models", ("models", len(kinds["benchmark"])), _by_size(_counted(kinds["benchmark"], _type))),
        ("c  Security models", ("models", len(kinds["security"])), _by_size(_counted(kinds["security"], _type))),
        (
            "d  Country",
            ("model types", _stated(types, "countries")),
            _by_size(Counter(one for kind in types for one in kind.countries or ())),
        ),
        ("e  Venue", ("model types", _stated(types, "venue")), _by_size(_counted(types, lambda one: one.venue))),
        ("f  Dataset", ("models", len(measured)), _by_size(Counter(measured["dataset"]))),
    )
    counted = counts_of(table)
    others = "" if counted.attacked == counted.models else f" (of {counted.models:,} measured)"
    figure, axes = panels(len(shown), 3, (11, 6.4), f"Statistics of {counted.attacked:,} attacked models{others}")
    for one, (title, (unit, n), counts) in zip(axes, shown, strict=True):
        left = f"; {SHOWN_BARS} of {len(counts)} shown" if len(counts) > SHOWN_BARS else ""
        bars(one, title, f"{unit} (n {n}{left})", counts[:SHOWN_BARS])
    return figure


def _types(entries: list[Entry]) -> list[Entry]:
    """Return one entry per model type, of benchmark models where there are any: metadata are of the architecture's paper."""
    chosen = [one for one in entries if one.purpose == "benchmark"] or entries
    return list({_type(one): one for one in reversed(chosen)}.values())


def _type(entry: Entry) -> str:
    return entry.paper_model_type or entry.family or "unstated"


def _counted(entries: Sequence[Entry], read: Callable[[Entry], object]) -> Counter[str]:
    return Counter(str(value) for one in entries if (value := read(one)) is not None)


def _stated(entries: Sequence[Entry], name: str) -> int:
    return sum(getattr(one, name) is not None for one in entries)


def _by_size(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def stealing_figure(table: MeasureTable) -> Figure | None:
    """Figure 2: stealing accuracy against target accuracy, one panel per dataset. None where nothing was stolen."""
    y = next((name for name in table.attacks() if name.startswith("stealing/") and _is_base(name)), None)
    if y is None or TEST not in table.measures:
        return None
    whole, table = table, table.without(("suspect_eval",))
    datasets = _datasets(table, TEST, [y])
    wrong = sorted(set(_datasets(whole, TEST, [y])) - set(datasets))
    notes = [f"Not drawn, because their published accuracies are known to be wrong: {', '.join(wrong)}."] if wrong else []
    notes.append(FITTED)
    figure, axes = panels(len(datasets), min(len(datasets), 4), None, "Stealing accuracy against target accuracy", notes, common=True)
    for one, dataset in zip(axes, datasets, strict=True):
        lines = table.frame[table.frame["dataset"] == dataset]
        for purpose, own in lines.groupby("purpose", sort=True):
            marker, colour = MARKERS.get(str(purpose), MARKERS["unstated"])
            scatter(one, own, TEST, y, (colour, marker), f"{purpose}: {fit(one, own, TEST, y, colour)}")
        dress(one, dataset, titled(TEST), titled(y))
        legend_above(one)
    return figure


def _is_base(measure: str) -> bool:
    _, params, metric = parts_of(measure)
    return metric == ACCURACY and params.get("preset", "base") == "base"


def attacks_figure(table: MeasureTable) -> Figure | None:
    """Figure 3: AUC against overfitting level, one panel per attack, a colour per dataset. None without both."""
    curves = _curves(table)
    if not curves:
        return None
    datasets = _datasets(table, GAP, curves)
    figure, axes = panels(len(curves), min(len(curves), 4), None, "AUC against overfitting level, by attack", _notes(table, datasets))
    for one, y in zip(axes, curves, strict=True):
        found: list[str] = []
        for number, dataset in enumerate(datasets):
            own = table.frame[table.frame["dataset"] == dataset]
            found += _kinds(one, own, y, (COLOURS[number % len(COLOURS)], "osD^v"[number // len(COLOURS) % 5], dataset))
        chance(one)
        dress(
            one,
            titled(y).removesuffix(" AUC"),
            titled(GAP),
            "AUC",
            "by definition 0.5 + level / 2" if definition(GAP, y) else None,
        )
        captions(one, found)
    shared_legend(figure, axes)
    return figure


def datasets_figure(table: MeasureTable) -> Figure | None:
    """Figure 4: AUC against overfitting level, one panel per dataset, a colour per attack. None without both."""
    curves = _curves(table)
    if not curves:
        return None
    datasets = _datasets(table, GAP, curves)
    notes = _notes(table, datasets)
    if "CUB-200-2011" in datasets:
        notes.append("CUB-200-2011: drawn over the true level; the published panel had minus the target accuracy on this axis.")
    figure, axes = panels(len(datasets), min(len(datasets), 3), None, "AUC against overfitting level, by dataset", notes)
    for one, dataset in zip(axes, datasets, strict=True):
        found: list[str] = []
        for number, y in enumerate(curves):
            own = table.frame[table.frame["dataset"] == dataset]
            found += _kinds(one, own, y, (COLOURS[number % len(COLOURS)], "osD^v"[number % 5], titled(y).removesuffix(" AUC")))
        chance(one)
        dress(one, dataset, titled(GAP), "AUC")
        captions(one, found)
    shared_legend(figure, axes)
    return figure


def _curves(table: MeasureTable) -> list[str]:
    names = [name for name in table.attacks() if parts_of(name)[0] in CURVES and parts_of(name)[2] == AUC]
    everywhere = {parts_of(name)[0] for name in names if name not in table.half}
    whole = [name for name in names if name not in table.half or parts_of(name)[0] not in everywhere]
    return sorted(whole, key=lambda name: CURVES.index(parts_of(name)[0])) if GAP in table.measures else []


def _datasets(table: MeasureTable, x: str, measures: Sequence[str]) -> list[str]:
    """Return the datasets that have points, those with most first."""
    drawn = table.frame[table.frame[x].notna() & table.frame[list(measures)].notna().any(axis=1)]
    counts = Counter(drawn["dataset"])
    other = {name: bool((own["purpose"] == "other").all()) for name, own in drawn.groupby("dataset")}
    return sorted(counts, key=lambda name: (other[name], -counts[name], name))[:SHOWN_PANELS]


def _notes(table: MeasureTable, datasets: Sequence[str]) -> list[str]:
    """Say where the overfitting level is not one: the train accuracy is the same number for all."""
    lines = {dataset: table.frame[table.frame["dataset"] == dataset] for dataset in datasets}
    flat = [name for name, own in lines.items() if "same number" in (untestable(own[own[GAP].notna()], GAP, _curves(table)[0]) or "")]
    hollow = ["Hollow: security models."] if (table.frame["purpose"] == "security").any() else []
    return [FITTED, *hollow] + [
        f"{name}: all models state the same train accuracy, so the level is only minus the target accuracy." for name in flat
    ]


def _kinds(axes: Axes, lines: pd.DataFrame, y: str, style: tuple[str, str, str]) -> list[str]:
    """Draw one curve's points over the overfitting level, and their line; those of security models hollow. Return the correlations."""
    colour, marker, label = style
    found: list[str] = []
    lines = lines[lines[GAP].notna() & lines[y].notna()]
    for purpose, own in lines.groupby("purpose", sort=True):
        scatter(axes, own, GAP, y, (colour, marker), label if purpose != "security" else "_" + label)
        name = f"    {purpose} models" if purpose in ("security", "other") and found else label
        found.append(f"{name}: {fit(axes, own, GAP, y, colour)}")
    return [f"{label}: a definition, n {len(lines)}"] if definition(GAP, y) and len(lines) else found


FIGURES: Mapping[str, Callable[[MeasureTable], Figure | None]] = {
    "figure-1-statistics": statistics_figure,
    "figure-2-stealing": stealing_figure,
    "figure-3-attacks": attacks_figure,
    "figure-4-datasets": datasets_figure,
}
