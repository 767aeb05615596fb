"""The catalog in pictures: how many models there are per dataset, family, year and venue, as SVG drawn here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from securitynet.entry import Entry
from securitynet.maintenance.records import entries

WIDTH, ROW, LABEL, BAR, TOP = 880, 16, 130, 220, 30
MOST = 16  # bars of a panel; the others are one bar
TEXT, FILL, REST = "#24292f", "#3b6ea5", "#9aa7b4"


def figures(catalog: Path) -> dict[str, str]:
    """Return the text of each figure by its path inside the catalog."""
    models = entries(catalog)
    return {"figures/models.svg": draw({title: counts_of(models, column) for title, column in PANELS.items()})}


PANELS = {
    "models by dataset": "dataset",
    "by architecture family": "family",
    "by year of the paper": "year",
    "by venue of the paper": "venue",
}


def distinct(models: Iterable[Entry]) -> list[Entry]:
    """Return the models without those whose weights another entry holds."""
    return [entry for entry in models if entry.same_weights_as is None]


def counts_of(models: Iterable[Entry], column: str) -> dict[str, int]:
    """Return how many distinct models have each value of a column, the most frequent first (years in order); unknown ones left out."""
    counts = Counter(str(getattr(entry, column)) for entry in distinct(models) if getattr(entry, column) is not None)
    if column == "year":
        return dict(sorted(counts.items()))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].casefold()))
    rest = sum(count for _, count in ordered[MOST:])
    return dict(ordered[:MOST]) | ({f"{len(ordered) - MOST} others": rest} if rest else {})


def draw(panels: Mapping[str, Mapping[str, int]]) -> str:
    """Return an SVG of bar charts, two beside each other, each with its own scale; all texts are escaped."""
    parts, columns, tops = [], 2, [TOP, TOP]
    for index, (title, counts) in enumerate(panels.items()):
        column = index % columns
        parts += _panel(column * WIDTH // columns + 10, tops[column], title, counts)
        tops[column] += ROW * len(counts) + 2 * TOP
    height = max(tops)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"'
    style = f'font-family="sans-serif" font-size="11" fill="{TEXT}">'
    return (
        "\n".join(
            [f'{head} aria-label="models of the catalog" {style}', '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>"]
        )
        + "\n"
    )


def _panel(left: int, top: int, title: str, counts: Mapping[str, int]) -> list[str]:
    most = max(counts.values(), default=1)
    parts = [f'<text x="{left}" y="{top}" font-size="13" font-weight="bold">{escape(title)}</text>']
    for number, (name, count) in enumerate(counts.items()):
        y = top + 8 + ROW * number
        fill = REST if name.endswith(" others") else FILL
        parts.append(f'<text x="{left + LABEL - 6}" y="{y + 11}" text-anchor="end">{escape(name[:22])}</text>')
        parts.append(f'<rect x="{left + LABEL}" y="{y + 2}" width="{max(1, BAR * count // most)}" height="{ROW - 5}" fill="{fill}"/>')
        parts.append(f'<text x="{left + LABEL + max(1, BAR * count // most) + 4}" y="{y + 11}">{count:,}</text>')
    return parts
