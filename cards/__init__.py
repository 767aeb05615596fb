"""Cards of models and of results: Jinja templates that only print; what they print is escaped for Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from securitynet.metrics.vocabulary import title_of

if TYPE_CHECKING:
    from jinja2 import Template

BEGIN, END = "<!-- securitynet:begin -->", "<!-- securitynet:end -->"
SPECIAL = re.compile(r"([\\`*_\[\]<>|])")


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return the text of `template` (the name of a file here, without `.md.j2`) with `values`; a value that is missing is an error.

    Templates escape what comes from entries and rows with the filters `md` (running text, table cells) and `code`.
    """
    return _template(template).render(values)


@cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = resources.files(__name__)
    loader = FunctionLoader(lambda name: (folder / f"{name}.md.j2").read_text(encoding="utf-8"))
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"md": escaped, "code": code, "number": number, "metric": title_of}
    return environment.get_template(name)


def escaped(value: object) -> str:
    """Return text that Markdown and HTML print as it is, on one line."""
    text = SPECIAL.sub(r"\\\1", " ".join(str(value).split()))
    return text.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\|", "&#124;")


def code(value: object) -> str:
    """Return text as inline code, on one line, also inside a table."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "¦")
    return f"`{text}`".replace("<!--", "< !--").replace("-->", "-- >")


def number(value: float | None) -> str:
    """Return a number with four digits that count, `-` for none."""
    return "-" if value is None else f"{value:.4g}"


def with_block(text: str, block: str) -> str | None:
    """Return `text` with what lies between the markers replaced by `block`, appended with them where there are none.

    None where the markers are not one pair in order.
    """
    counts = text.count(BEGIN), text.count(END)
    if counts == (0, 0):
        return f"{text.rstrip()}\n\n{BEGIN}\n{block.strip()}\n{END}\n".lstrip()
    if counts != (1, 1) or text.index(BEGIN) > text.index(END):
        return None
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block.strip()}\n{END}{rest.split(END)[1]}"


def block_of(text: str) -> str | None:
    """Return what lies between the markers, None where they are not one pair in order."""
    counts = text.count(BEGIN), text.count(END)
    if counts != (1, 1) or text.index(BEGIN) > text.index(END):
        return None
    return text.split(BEGIN)[1].split(END)[0].strip()
