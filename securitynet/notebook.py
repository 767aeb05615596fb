"""How objects show themselves in a notebook: a small table, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from securitynet.errors import shown


def html_table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return an HTML table of names and values under a title; values that are None are left out."""
    lines = (f"<tr><th style='text-align:left'>{_safe(name)}</th><td>{_safe(value)}</td></tr>" for name, value in rows if value is not None)
    return f"<table><caption style='text-align:left'><b>{_safe(title)}</b></caption>{''.join(lines)}</table>"


def _safe(value: object) -> str:
    return escape(shown(str(value), 400))
