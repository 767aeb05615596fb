"""The report as Markdown: the same content as the page, without pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from securitynet.cards import code, escaped
from securitynet.report.audit.page import lines_of
from securitynet.report.audit.severity import RULES

if TYPE_CHECKING:
    from securitynet.report.audit.audit import Audit, Risk
    from securitynet.report.audit.statement import Statement
    from securitynet.report.page.number_tables import NumberTable

NUMBERS = ("question", "quantity", "attack", "value", "95 % interval", "images", "method", "remark")


def markdown(audit: Audit) -> str:
    """Return the report as Markdown."""
    facts = " · ".join([*(escaped(value) for _, value in audit.facts), f"audited {audit.date[:10]}"])
    parts = [
        f"# Audit of {escaped(audit.model)}", facts, f"**{audit.decision}**: {escaped(audit.because)}",
        _table(("risk", "severity", "reason"), [(one.name, f"**{one.severity}**", escaped(one.reason)) for one in audit.risks]),
    ]  # fmt: skip
    if audit.advice:
        parts += ["## What to do", "\n".join(_advised(one.text, one.reference, one.risk) for one in audit.advice)]
    parts += [f"## Among public models{f' on {escaped(audit.places.dataset)}' if audit.places.dataset else ''}", _places(audit)]
    parts += [part for one in audit.risks for part in _risk(audit, one)]
    if audit.tried:
        names = (
            "defence",
            "accuracy",
            "AUC of the strongest attack",
            "attack",
            "agreement of the copy",
            "above the control",
            "accuracy of the copy",
            "queries",
        )
        lines = [
            (one.defence, str(one.accuracy), str(one.auc), one.attack or "–", str(one.agreement), str(one.excess), str(one.copy_accuracy),
             f"{one.queries:,}" if one.queries else one.reason or "–")
            for one in audit.tried
        ]  # fmt: skip
        parts += ["## Output defences that were tried", _table(names, [tuple(map(escaped, line)) for line in lines])]
    parts += ["## How a severity is decided", "For each risk the first line that holds.", _table(("risk", "severity", "where"), _rules())]
    parts += ["## Where these numbers come from", _list(f"{name}: {escaped(value)}" for name, value in audit.provenance) or "no rows"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rules() -> list[tuple[str, ...]]:
    return [(rule.risk, rule.severity, escaped(rule.words)) for rule in RULES]


def _advised(text: str, reference: str | None, risk: str) -> str:
    return f"- {risk}: {escaped(text)}{f' ({escaped(reference)})' if reference else ''}"


def _places(audit: Audit) -> str:
    if not audit.places.places:
        return f"Not shown: {escaped(audit.places.reason)}."
    lines = [escaped(one.words) for one in audit.places.places]
    return _list([*lines, *([f"the AUC was {escaped(audit.places.note)}"] if audit.places.note else [])])


def _risk(audit: Audit, one: Risk) -> list[str]:
    found = [f"## {one.name}: {one.severity}", escaped(one.reason)]
    if one.name == "files":
        found += [_list(f"{name}: {escaped(value)}" for name, value in lines_of(audit.contents)), _files(audit)]
    if one.name == "membership" and audit.statement is not None:
        found += _stated(audit.statement)
    if one.name == "stealing":
        found += [_list(escaped(chart.words) for chart in audit.charts)]
    if one.name == "backdoor":
        found += [_list(escaped(f"{detection.title}: {detection.words}") for detection in audit.detections)]
    return [*found, _list(map(escaped, one.details)), *(_numbers(table) for table in one.tables)]


def _stated(one: Statement) -> list[str]:
    numbers = [
        (n.question, n.quantity, n.attack, n.text, n.interval, f"{n.n:,}" if n.n else "–", n.method or "–", n.remark or "–")
        for n in one.numbers
    ]
    attackers = [(escaped(line.knows), escaped(", ".join(line.attacks))) for line in one.attackers]
    lists = (("Questions", one.questions), ("Population", one.population))
    return [
        *(part for title, lines in lists for part in (f"### {title}", _list(map(escaped, lines)))),
        "### What the attackers know",
        _table(("attacker knows", "attacks"), attackers) if attackers else "No attack gave a number.",
        *(("### Numbers", _table(NUMBERS, [tuple(map(escaped, line)) for line in numbers])) if numbers else ()),
        "### Answers", _list(map(escaped, one.answers)) or "None.",
        "### What cannot be concluded", _list(map(escaped, one.not_concluded)),
    ]  # fmt: skip


def _files(audit: Audit) -> str:
    lines = []
    for file in audit.contents.files:
        if file.of_interest:
            imports = ", ".join(f"{item.name} ({item.kind})" for item in file.imports[:12])
            said = "; ".join(text for text in (file.trouble, imports) if text) or "none"
            size = "–" if file.size is None else f"{file.size:,}"
            name = escaped(file.name) + (" (the weights)" if file.weights else "")
            lines.append((name, escaped(file.format or "–"), size, escaped(said), code(file.sha256) if file.sha256 else "–"))
    return _table(("file", "format", "bytes", "imports", "sha256"), lines) if lines else ""


def _numbers(table: NumberTable) -> str:
    lines = [(escaped(label), *(escaped(f"{one.text} {one.interval}".strip()) for one in cells)) for label, cells in table.lines]
    return f"{escaped(table.family)}\n\n{_table(('attack', *table.header), lines)}"


def _table(names: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [names, ["---"] * len(names), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
