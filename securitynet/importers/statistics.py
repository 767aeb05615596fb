"""The catalog in numbers, as tables of its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from securitynet.entry import Entry
from securitynet.importers.figures import counts_of, distinct

COUNTED: dict[str, Callable[[Entry], bool]] = {
    "models": lambda entry: True,
    "build here": lambda entry: entry.loader is not None and entry.architecture is not None,
    "opened here": lambda entry: entry.loadable is True,
    "re-hosted": lambda entry: entry.same_weights_as is not None,
    "with a claim": lambda entry: entry.claimed_accuracy is not None,
    "pinned": lambda entry: entry.pin == "pinned",
    "prefix of a hash": lambda entry: entry.pin == "prefix",
    "not pinned": lambda entry: entry.pin == "none",
}


def statistics(models: Sequence[Entry]) -> str:
    """Return Markdown: models per source and what is known of them; then distinct models per dataset, licence, purpose and venue type."""
    parts = [_by_source(models)]
    for title, column in (("dataset", "dataset"), ("licence of the weights", "licence"), ("purpose", "purpose"), ("venue", "venue")):
        unknown = sum(getattr(entry, column) is None for entry in distinct(models))
        counts = counts_of(models, column) | ({"not known": unknown} if unknown else {})
        parts.append(_table(("distinct models by " + title, "models"), [(name, f"{count:,}") for name, count in counts.items()]))
    return "\n".join(parts)


def _by_source(models: Iterable[Entry]) -> str:
    counts: dict[str, Counter[str]] = {}
    for entry in models:
        counts.setdefault(entry.source, Counter()).update(name for name, counted in COUNTED.items() if counted(entry))
    rows = [(f"`{source}`", *(f"{count[name]:,}" for name in COUNTED)) for source, count in sorted(counts.items())]
    total = sum(counts.values(), Counter())
    return _table(("source", *COUNTED), [*rows, ("**all**", *(f"**{total[name]:,}**" for name in COUNTED))])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"
