"""The catalog in numbers, as tables of its card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from securitynet.entry import Entry
from securitynet.maintenance.figures import counts_of, distinct
from securitynet.paper import FACTS, Paper

COUNTED: dict[str, Callable[[Entry], bool]] = {
    "models": lambda entry: True,
    "build here": lambda entry: entry.loader not in (None, "environment") and entry.architecture is not None,
    "build in an environment of their own": lambda entry: entry.loader == "environment",
    "opened here": lambda entry: entry.loadable is True,
    "re-hosted": lambda entry: entry.same_weights_as is not None,
    "with a claim": lambda entry: entry.claimed_accuracy is not None,
    "pinned": lambda entry: entry.pin == "pinned",
    "prefix of a hash": lambda entry: entry.pin == "prefix",
    "not pinned": lambda entry: entry.pin == "none",
}


READ: dict[str, tuple[str, ...]] = {  # what was read of a paper; one that is on no arXiv has no date there
    **{fact: (fact,) for fact in FACTS},
    "all but the arXiv date": tuple(fact for fact in FACTS if fact != "arxiv_date"),
    "all": FACTS,
}


def statistics(models: Sequence[Entry], papers: Mapping[str, Paper]) -> str:
    """Return Markdown: models per source and what is known of them; facts read of their papers (`papers`: by address); then distinct
    models per dataset, licence, purpose and venue type."""
    parts = [_by_source(models), _by_fact(models, papers)]
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


def _by_fact(models: Iterable[Entry], papers: Mapping[str, Paper]) -> str:
    """How many papers have each fact, and how many of the entries that cite a paper cite one that has it."""
    cited = Counter(entry.paper_url for entry in models if entry.paper_url in papers)
    rows = []
    for name, facts in READ.items():
        read = [url for url, paper in papers.items() if all(getattr(paper, fact) is not None for fact in facts)]
        rows.append((name.replace("_", " "), _share(len(read), len(papers)), _share(sum(cited[url] for url in read), sum(cited.values()))))
    return _table(("read of the papers", "papers", "entries that cite them"), rows)


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else "0"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"
