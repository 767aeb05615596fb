"""Audit: everything that the report says, computed once; pages, Markdown and JSON print it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from securitynet._version import __version__
from securitynet.report.audit.advice import Advice
from securitynet.report.audit.contents import Contents
from securitynet.report.audit.place import Places
from securitynet.report.audit.severity import RULES, at_least
from securitynet.report.audit.statement import Statement
from securitynet.report.audit.trial import Tried
from securitynet.report.page.detections import Detection
from securitynet.report.page.drawings import Roc
from securitynet.report.page.number_tables import NumberTable
from securitynet.report.page.stealing_charts import Chart


@dataclass(frozen=True)
class Risk:
    """One risk: its severity, why in one line, and all that is to be said of it in `details`."""

    name: str
    severity: str
    reason: str
    details: tuple[str, ...] = ()
    tables: tuple[NumberTable, ...] = ()


@dataclass(frozen=True, eq=False)
class Audit:
    """The report on one model; `failure`: why the model could not be evaluated; `failed`: attacks that did not end well."""

    model: str
    dataset: str | None
    date: str
    decision: str
    because: str
    risks: tuple[Risk, ...]
    advice: tuple[Advice, ...]
    contents: Contents
    places: Places
    tried: tuple[Tried, ...] = ()
    failure: str | None = None
    failed: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    statement: Statement | None = None
    roc: Roc | None = field(default=None, repr=False)
    charts: tuple[Chart, ...] = field(default=(), repr=False)
    detections: tuple[Detection, ...] = field(default=(), repr=False)

    def severity(self, risk: str) -> str:
        """Return the severity of a risk, one of LEVELS."""
        return next(one.severity for one in self.risks if one.name == risk)

    def fails(self, level: str) -> bool:
        """Say whether a risk is at least as severe as `level`: high, medium or `not known`.

        Evasion, which nobody looks at yet, never is.
        """
        return any(at_least(one.severity, level) for one in self.risks if one.name != "evasion")

    def to_json(self) -> dict[str, Any]:
        """Return all of it but the pictures as one JSON object, the table of severities included."""
        risks = {one.name: {"severity": one.severity, "reason": one.reason, "details": list(one.details)} for one in self.risks}
        place = {name: value for name, value in asdict(self.places).items() if name != "picture"}
        table = [{"risk": rule.risk, "severity": rule.severity, "when": rule.words} for rule in RULES]
        return {
            "model": self.model, "dataset": self.dataset, "date": self.date, "securitynet": __version__, "decision": self.decision,
            "because": self.because, "risks": risks, "advice": [asdict(one) for one in self.advice],
            "files": asdict(self.contents), "place": place, "tried": [asdict(one) for one in self.tried],
            "failure": self.failure, "failed": list(self.failed), "facts": dict(self.facts), "provenance": dict(self.provenance),
            "membership": None if self.statement is None else asdict(self.statement), "severities": table,
        }  # fmt: skip

    def to_markdown(self) -> str:
        """Return the report as Markdown, text from outside escaped."""
        from securitynet.report.audit.markdown import markdown

        return markdown(self)

    def to_html(self) -> str:
        """Return the report as one self-contained page."""
        from securitynet.report.audit.page import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as its suffix says: .html, .md or .json; return the path. Raises UsageError for another suffix."""
        from securitynet.report.audit.page import write

        return write(self, Path(path))
