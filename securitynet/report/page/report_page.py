"""The report: what results mean, on one page, and every number as CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from securitynet.cache import replacing
from securitynet.metrics.vocabulary import ACCURACY, AUC, TEST_ACCURACY
from securitynet.report.findings import METHODS, Findings, findings
from securitynet.report.findings.hypotheses import DEFINITION, FEWEST
from securitynet.report.measure_table import TEST, MeasureTable, measure_table, parts_of, published_rows, titled
from securitynet.report.page.detections import Detection, detections
from securitynet.report.page.drawings import DotStrip, Roc, roc_drawing, strip_drawing
from securitynet.report.page.evaded import Evaded, evaded, evasion_charts
from securitynet.report.page.html import explorer, write_html
from securitynet.report.page.marks import Mark, Number, Verification, headline_saved, marks, numbers_of, verified_saved
from securitynet.report.page.number_tables import NumberTable, tables
from securitynet.report.page.stealing_charts import Chart, stealing_charts
from securitynet.report.saved_result import SavedResult, is_saved, read_saved
from securitynet.report.stored_rows import Rows, records_of
from securitynet.results.row import Row
from securitynet.schema import dtypes_of

TEMPLATE = "page.html.j2"
STRIPS = (
    ("membership/modified_entropy", AUC),
    ("membership/correctness", AUC),
    ("stealing/knockoff", ACCURACY),
    ("verify", TEST_ACCURACY),
)
FEWEST_OTHERS = 5
FACTS = {
    "dataset": "dataset", "architecture": "architecture", "params": "parameters", "licence": "licence", "source": "published by",
    "claimed_accuracy": "claimed accuracy", "threat_model": "robust training", "backdoor": "planted backdoor", "year": "year of the paper",
}  # fmt: skip
PROVENANCE = ("weights_sha256", "dataset_revision", "manifest", "seed", "device", "date", "versions", "origin")


@dataclass(frozen=True)
class SummaryCard:
    """Everything that the page says of one evaluated model."""

    anchor: str
    saved: SavedResult
    verification: Verification
    marks: tuple[Mark, ...]
    numbers: tuple[Number, ...]
    meaning: str
    facts: tuple[tuple[str, str], ...]
    tables: tuple[NumberTable, ...]
    reasons: tuple[tuple[str, str], ...]
    roc: Roc | None
    charts: tuple[Chart, ...]
    detections: tuple[Detection, ...]
    evaded: tuple[Evaded, ...]
    strips: tuple[DotStrip, ...]
    provenance: tuple[tuple[str, str], ...]


def write_page(paths: Sequence[Path], rows: Rows, output: Path) -> Path:
    """Write the report of `rows` to `output`; folders of saved results among `paths` become cards of their models. Returns `output`.

    Findings are tested where there are enough models. Raises UsageError for a folder that cannot be read.
    """
    saved = [read_saved(path) for path in paths if is_saved(path)]
    table = measure_table(rows)
    own = {one.entry.id: one.entry for one in saved}
    table = replace(table, entries={**table.entries, **own})
    published = measure_table(published_rows()) if saved else table
    cards = [_card(one, f"model-{number}", published, table) for number, one in enumerate(saved, 1)]
    anchors = {card.saved.entry.id: f"#{card.anchor}" for card in cards}
    tested: Findings | None = findings(table) if len(table.frame) >= FEWEST else None
    models = max(table.frame["entry"].nunique(), len(cards))
    return write_html(
        output, TEMPLATE, cards=cards, findings=tested, methods=METHODS, fewest=FEWEST, models=models,
        definitions=sorted({one.reason or "" for one in tested.of(DEFINITION)}) if tested else [],
        explorer=explorer(table, [one.entry.id for one in saved], anchors),
    )  # fmt: skip


def write_csv(rows: Rows, path: Path) -> Path:
    """Write every row as a line of CSV, columns as in the schema; text that a spreadsheet would run gets a quote before it."""
    names = list(dtypes_of(Row))
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(names)
        writer.writerows([_inert(record[name]) for name in names] for record in records_of(rows))
    return path


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _card(saved: SavedResult, anchor: str, published: MeasureTable, together: MeasureTable) -> SummaryCard:
    labelled = saved.labelled()
    reasons = dict.fromkeys(
        (label, row.reason) for label, group in labelled.items() for row in group if row.reason and row.status in ("skipped", "failed")
    )
    evidence, accuracy, found = saved.evidence(), saved.row(TEST), headline_saved(saved)
    keys = {label: (group[0].attack, group[0].params) for label, group in labelled.items()}
    drawn = [(label, evidence[key]) for label, key in keys.items() if key in evidence]
    return SummaryCard(
        anchor,
        saved,
        verified_saved(saved),
        marks(saved.rows, saved.entry, found),
        numbers_of(found),
        str(saved.summary.get("meaning") or ""),
        tuple((title, _fact(getattr(saved.entry, name))) for name, title in FACTS.items() if getattr(saved.entry, name) is not None),
        tuple(tables(labelled)),
        tuple((label, str(reason)) for label, reason in reasons),
        roc_drawing(drawn),
        (*stealing_charts(saved.rows, accuracy.value if accuracy is not None else None), *evasion_charts(saved)),
        tuple(detections(saved)),
        tuple(evaded(saved)),
        tuple(_strips(saved, published, together)),
        tuple(_provenance(saved)),
    )


def _fact(value: Any) -> str:
    return f"{value:.2%}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)


def _strips(saved: SavedResult, published: MeasureTable, together: MeasureTable) -> list[DotStrip]:
    """Return the place of the model among published models of its dataset, else among the other models of the report."""
    strips = []
    for attack, metric in STRIPS:
        rows = [row for row in saved.rows if (row.attack, row.metric) == (attack, metric) and row.value is not None]
        row = min(rows, key=lambda one: one.scope == "half", default=None)
        for table, whom in ((published, "published models"), (together, "other models of this report")):
            others = _others(table, row, saved.entry.id) if row is not None else {}
            if row is not None and len(others) >= (FEWEST_OTHERS if table is published else 1):
                mine = (row.entry, float(row.value or 0.0), row.ci_low, row.ci_high)
                title = titled(TEST) if attack == "verify" else titled(f"{attack}:{metric}")
                strips.append(strip_drawing(title, mine, others, f"{whom} on {row.dataset}"))
                break
    return strips


def _others(table: MeasureTable, row: Row, own: str) -> dict[str, float]:
    """Return the same number of other models: the same attack and metric, whatever its variant is called, all samples."""
    variants = {name: parts_of(name) for name in table.measures}
    same = [name for name, (attack, _, metric) in variants.items() if (attack, metric) == (row.attack, row.metric)]
    whole = [name for name in same if name not in table.half]
    same = [name for name in whole if variants[name][1].get("preset", "base") == "base"][:1]
    lines = table.frame[(table.frame["dataset"] == row.dataset) & (table.frame["entry"] != own)]
    return {f"{entry}": float(value) for name in same for entry, value in zip(lines["entry"], lines[name], strict=True) if value == value}


def _provenance(saved: SavedResult) -> list[tuple[str, str]]:
    found = []
    for name in PROVENANCE:
        values = dict.fromkeys(str(value) for row in saved.rows if (value := getattr(row, name)) is not None)
        if values:
            text = "; ".join(list(values)[:3]) + (" …" if len(values) > 3 else "")
            found.append((name.replace("_", " "), _versions(text) if name == "versions" else text))
    return found


def _versions(text: str) -> str:
    try:
        return ", ".join(f"{name} {version}" for name, version in json.loads(text).items())
    except (ValueError, AttributeError):
        return text
