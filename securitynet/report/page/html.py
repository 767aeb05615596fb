"""Self-contained pages: one file, no request to the network, text from outside escaped, no script but ours, DataTables' and Bokeh's."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from securitynet.cache import replacing
from securitynet.metrics.vocabulary import sentence_of, title_of
from securitynet.report.measure_table import KEYS, MeasureTable, titles_of
from securitynet.report.page import libraries
from securitynet.report.page.scatter import scatter

if TYPE_CHECKING:
    from securitynet.entry import Entry

COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8F6BB3", "#7F7F7F")  # of datasets; one's own models are orange-red
Explorer = dict[str, Any]


def write_html(path: Path, template: str, **values: Any) -> Path:
    """Render a template of this package into `path`, whole or not at all; return the path. Raises as `render` does."""
    text = render(template, **values)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def render(template: str, **values: Any) -> str:
    """Return a template of this package as HTML: autoescaped, with our style and script inside and a policy that allows no other.

    A page with an `explorer` carries DataTables, Bokeh and its plot. Raises UsageError where it is wanted and one is not installed.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("securitynet", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"link": link, "metric": title_of}
    environment.policies["json.dumps_kwargs"] = {}  # Bokeh's parts refer to those before them, so nothing is sorted
    scripts = {"script": Markup(_text("script.html.j2"))}
    if "ranking" in values:
        scripts |= {"ranking_script": Markup(_text("ranking_script.html.j2"))}
    if "explorer" in values:
        scripts |= {"bokeh": Markup(libraries.bokeh()), "datatables": Markup(libraries.datatables())}
        values["scatter"] = scatter(legend=bool(values["explorer"]["mine"]))
    allowed = " ".join(_allowed(text) for text in scripts.values())
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    return environment.get_template(template).render(style=Markup(_text("style.html.j2")), policy=policy, **scripts, **values)


def _allowed(script: str) -> str:
    """Return the source of a content security policy that lets this script run and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _text(name: str) -> str:
    return resources.files("securitynet.report").joinpath(name).read_text(encoding="utf-8")


def link(address: str | None) -> str | None:
    """Return the address if a page may link to it: http or https with a host; None otherwise (`javascript:` and the like)."""
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None


def explorer(table: MeasureTable, mine: Sequence[str] = (), anchors: dict[str, str] | None = None) -> Explorer:
    """Return what the page's table and scatter plot show: columns (title, kind) and one list of values per model.

    `mine` are the entries that are highlighted, `anchors` the places on the page that their names lead to.
    """
    columns = [{"title": title, "kind": "text"} for title in ("model", "dataset", "measured by", "purpose", "type", "licence", "year")]
    measures = [name for name in table.measures if not name.endswith((":queries", ":advantage"))]
    columns += [
        {"title": title, "kind": "number", "help": sentence_of(name.rpartition(":")[2])}
        for name, title in zip(measures, titles_of(measures), strict=True)
    ]
    frame = table.frame
    numbers = frame[measures].to_numpy(float).tolist() if len(frame) else []
    rows = []
    for (origin, entry, dataset), purpose, kind, values in zip(
        frame[list(KEYS)].itertuples(index=False, name=None), frame["purpose"], frame["model_type"], numbers, strict=True
    ):
        licence, year = _facts(table.entries.get(entry))
        rows.append([entry, dataset, origin, purpose, kind, licence, year, *(_short(value) for value in values)])
    colours = colours_of([str(dataset) for dataset in frame["dataset"]])
    return {"columns": columns, "rows": rows, "mine": sorted(set(mine)), "anchors": anchors or {}, "colours": colours}


def colours_of(datasets: Sequence[str]) -> dict[str, str]:
    """Return a colour for each image dataset, by name; those with most models have colours of their own."""
    counts = Counter(datasets)
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(sorted(counts, key=lambda one: (-counts[one], one)))}


def _facts(entry: Entry | None) -> tuple[str, str]:
    if entry is None:
        return "", ""
    return entry.licence or "", "" if entry.year is None else str(entry.year)


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if value == value and abs(value) != float("inf") else None
