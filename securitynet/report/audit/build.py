"""From a saved evaluation and the contents of a model to its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from securitynet.report.audit import reasons
from securitynet.report.audit.advice import advice
from securitynet.report.audit.audit import Audit, Risk
from securitynet.report.audit.contents import Contents
from securitynet.report.audit.facts import backdoor, copied, family_of, leak, verified
from securitynet.report.audit.place import places
from securitynet.report.audit.severity import HIGH, LEVELS, LOW, MEDIUM, RISKS, UNKNOWN, UNSEEN, severity
from securitynet.report.audit.statement import statement
from securitynet.report.audit.trial import Tried, best_of
from securitynet.report.page.detections import detections
from securitynet.report.page.drawings import Roc, roc_drawing
from securitynet.report.page.number_tables import tables
from securitynet.report.page.stealing_charts import stealing_charts
from securitynet.report.saved_result import SavedResult
from securitynet.results.evidence import read_evidence
from securitynet.results.headline import headline
from securitynet.results.row import Row, now

REFUSE, REVIEW, ADMIT = "Do not admit", "Review before use", "Admit"
PROVENANCE = ("weights_sha256", "dataset", "dataset_revision", "manifest", "seed", "device", "date", "versions", "origin")
TITLES = {"membership": "membership inference", "stealing": "model stealing", "backdoor": "backdoor detection"}  # of the tables


def audit_of(saved: SavedResult, contents: Contents, tried: Sequence[Tried] = (), failure: str | None = None) -> Audit:
    """Return the report on a saved evaluation, whose rows may be none, and on the contents of the model."""
    rows, evidence = saved.rows, read_evidence(saved.folder) if saved.rows else []
    found = headline([row for row in rows if row.family in ("membership", "verify")], evidence) if evidence else None
    facts: dict[str, Any] = {
        "files": contents, "verify": verified(rows, saved.entry), "membership": leak(rows, found), "stealing": copied(rows),
        "backdoor": backdoor(rows, saved.entry), "evasion": None,
    }  # fmt: skip
    levels = {risk: severity(risk, facts[risk]) for risk in RISKS}
    place = places(rows, saved.entry)
    decision, because = _decision(levels)
    dataset = next((row.dataset for row in rows if row.dataset), saved.entry.dataset)
    failed = tuple(dict.fromkeys(row.attack for row in rows if row.status == "failed"))
    return Audit(
        saved.entry.id, dataset, now(), decision, because, _risks(facts, levels, saved, failure),
        advice(levels, contents, place, best_of(tried)), contents, place, tuple(tried), failure, failed, _facts(saved), _provenance(saved),
        statement(rows, facts["membership"]),
        _roc(saved), tuple(stealing_charts(rows, facts["verify"].accuracy)), tuple(detections(saved)) if rows else (),
    )  # fmt: skip


def _roc(saved: SavedResult) -> Roc | None:
    """The ROC curves of the attacks that have scores."""
    scores = saved.evidence() if saved.rows else {}
    keys = {label: (group[0].attack, group[0].params) for label, group in saved.labelled().items()}
    return roc_drawing([(label, scores[key]) for label, key in keys.items() if key in scores])


def _decision(levels: Mapping[str, str]) -> tuple[str, str]:
    """The decision and the risks behind it; evasion, which nobody looks at yet, does not count."""
    named = {level: [risk for risk in RISKS if levels[risk] == level and risk != "evasion"] for level in LEVELS}
    because = "; ".join(f"{level}: {', '.join(named[level])}" for level in LEVELS if named[level] and level != LOW)
    if named[HIGH]:
        return REFUSE, because
    if named[MEDIUM] or named[UNKNOWN] or named[UNSEEN]:
        return REVIEW, because
    return ADMIT, "every risk that was looked at is low"


def _risks(facts: Mapping[str, Any], levels: Mapping[str, str], saved: SavedResult, failure: str | None) -> tuple[Risk, ...]:
    said: Mapping[str, Any] = {
        "files": reasons.of_files, "verify": reasons.of_verify, "membership": reasons.of_membership, "stealing": reasons.of_stealing,
        "backdoor": reasons.of_backdoor,
    }  # fmt: skip
    found = []
    by_title = {title: [table for table in tables(saved.labelled()) if table.family.startswith(title)] for title in TITLES.values()}
    for risk in RISKS:
        level = levels[risk]
        reason = said[risk](facts[risk], level) if risk in said else "not part of the audit yet"
        if failure is not None and level == UNSEEN and risk in ("verify", *TITLES):
            reason = f"the model could not be evaluated: {failure}"
        found.append(Risk(risk, level, reason, _details(risk, facts[risk], saved), tuple(by_title.get(TITLES.get(risk, ""), ()))))
    return tuple(found)


def _details(risk: str, fact: Any, saved: SavedResult) -> tuple[str, ...]:
    """What a reviewer may want to know beyond the reason: notes, the whole judgement, why numbers are missing."""
    own = [row for row in saved.rows if family_of(row) == risk]
    said = _missing(own)
    if risk == "verify":
        said = [str(note) for note in saved.verify.get("notes") or ()]
    if risk == "backdoor" and fact is not None:
        said = [f"{fact.word}: {fact.reason}", *([fact.known] if fact.known else []), *said]
    if risk == "files":
        said = list(fact.notes)
    return tuple(said)


def _missing(rows: Sequence[Row]) -> list[str]:
    """Why numbers are missing: each reason once, with the attacks that it is about."""
    named: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.value is None and row.reason:
            named.setdefault(row.reason, {})[row.attack.partition("/")[2].replace("_", " ")] = None
    return [f"not measured ({', '.join(attacks)}): {reason}" for reason, attacks in named.items()]


def _facts(saved: SavedResult) -> tuple[tuple[str, str], ...]:
    entry = saved.entry
    named = {"dataset": entry.dataset, "architecture": entry.architecture, "parameters": entry.params, "year of the paper": entry.year}
    return tuple((name, f"{value:,}" if name == "parameters" else str(value)) for name, value in named.items() if value is not None)


def _provenance(saved: SavedResult) -> tuple[tuple[str, str], ...]:
    found = []
    for name in PROVENANCE:
        values = list(dict.fromkeys(str(value) for row in saved.rows if (value := getattr(row, name)) is not None))
        if values:
            found.append((name.replace("_", " "), "; ".join(values[:3]) + (" …" if len(values) > 3 else "")))
    return tuple(found)
