"""The report as files: HTML by the template, Markdown, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from securitynet.cache import replacing
from securitynet.errors import UsageError
from securitynet.report.audit.contents import Contents
from securitynet.report.audit.severity import HIGH, LOW, MEDIUM, RULES
from securitynet.report.page.html import render

if TYPE_CHECKING:
    from securitynet.report.audit.audit import Audit

SUFFIXES = (".html", ".md", ".json")


def page(audit: Audit) -> str:
    """Return the report as one self-contained page."""
    tone = {"Do not admit": HIGH, "Admit": LOW}.get(audit.decision, MEDIUM)
    files = [file for file in audit.contents.files if file.of_interest]
    return render("audit.html.j2", audit=audit, tone=tone, files=files, contents=lines_of(audit.contents), rules=RULES)


def lines_of(contents: Contents) -> list[tuple[str, str]]:
    """Return what is known of the files as (name, text)."""
    named = {
        "source": contents.source, "commit": contents.commit, "pinned by": contents.pin or None, "integrity on record": contents.integrity,
        "hash on record": contents.recorded, "licence": contents.licence or "not stated", "base model": contents.base_model or "not stated",
        "code that the config asks for": "; ".join(contents.needs_code) or None,
    }  # fmt: skip
    return [(name, value) for name, value in named.items() if value is not None]


def writable(path: str | Path) -> None:
    """Return for a path whose suffix says how to write it. Raises UsageError for another."""
    if Path(path).suffix not in SUFFIXES:
        raise UsageError(f"{path}: the report is written as {', '.join(SUFFIXES)}")


def write(audit: Audit, path: Path) -> Path:
    """Write the report as the suffix says; return the path. Raises UsageError."""
    writable(path)
    if path.suffix == ".json":
        text = json.dumps(audit.to_json(), indent=1, ensure_ascii=False) + "\n"
    else:
        text = audit.to_html() if path.suffix == ".html" else audit.to_markdown()
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path
