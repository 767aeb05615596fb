"""What pages say first of a model: whether it was verified, and, apart from that, how severe each risk is, with the headline's numbers.

Severities are those of the one table in report.audit.severity; here it is read from rows alone, without the files of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from securitynet.entry import Entry
from securitynet.metrics.vocabulary import title_of
from securitynet.report.audit import reasons
from securitynet.report.audit.facts import backdoor, cause_of, copied, leak
from securitynet.report.audit.severity import severity
from securitynet.report.saved_result import SavedResult
from securitynet.results.evidence import Arrays, read_evidence
from securitynet.results.headline import PRIORS, Finding, Headline, headline
from securitynet.results.row import Row

RISKS = ("membership", "stealing", "backdoor")
WORDS = {"ok": "verified", "suspect": "not verified"}


@dataclass(frozen=True)
class Mark:
    """One risk: its severity (high, medium, low, not known, not looked at) and why, in a line."""

    risk: str
    severity: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """Whether the model does what its publisher claims: `word` is verified, not verified (`cause` says why), or not checked."""

    word: str
    cause: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def tone(self) -> str:
        """How a page shows it: nothing about a risk is said by it."""
        return "bad" if self.cause else "soft"


@dataclass(frozen=True)
class Number:
    """One test of the headline as texts: what was found, the lower end that counts, what chance gives, and for which share of members
    among all images which share of the named ones are members (`precision`, by prior; empty for an AUC).
    """

    title: str
    attack: str
    value: str
    low: str
    chance: str
    samples: str
    precision: tuple[str, ...]
    reason: str = ""


def verification(rows: Iterable[Row], status: str | None = None, cause: str | None = None, notes: Iterable[str] = ()) -> Verification:
    """Return whether a model was verified: by the verdict's `status` and `cause` where there is one, else by the rows."""
    rows = list(rows)
    found = cause or cause_of(rows)
    stated = status or ("suspect" if found else "not checked")
    return Verification(WORDS.get(stated, stated), found, tuple(notes))


def headline_of(rows: Sequence[Row], evidence: Iterable[Arrays]) -> Headline | None:
    """Return the headline about membership of rows and the arrays behind them; None without scores."""
    own = [row for row in rows if row.family in ("membership", "verify") and row.status in ("ok", "suspect", "skipped")]
    return headline(own, evidence)


def verified_saved(saved: SavedResult) -> Verification:
    """Return whether the model of a saved result was verified: as it was saved, else from the rows."""
    kept = {name: None if saved.verify.get(name) is None else str(saved.verify[name]) for name in ("status", "cause")}
    return verification(saved.rows, kept["status"], kept["cause"], [str(note) for note in saved.verify.get("notes") or ()])


def headline_saved(saved: SavedResult) -> Headline | None:
    """Return the headline about membership of a saved result; None where no scores were saved."""
    return headline_of(saved.rows, read_evidence(saved.folder))


def marks(rows: Sequence[Row], entry: Entry, found: Headline | None) -> tuple[Mark, ...]:
    """Return the severity of each risk that attacks measure, from rows and the headline only."""
    facts: dict[str, Any] = {"membership": leak(rows, found), "stealing": copied(rows), "backdoor": backdoor(rows, entry)}
    said: dict[str, Any] = {"membership": reasons.of_membership, "stealing": reasons.of_stealing, "backdoor": reasons.of_backdoor}
    levels = {risk: severity(risk, facts[risk]) for risk in RISKS}
    return tuple(Mark(risk, levels[risk], said[risk](facts[risk], levels[risk])) for risk in RISKS)


def numbers_of(found: Headline | None) -> tuple[Number, ...]:
    """Return the headline's tests, the AUCs first, then the rates; none without a headline."""
    return () if found is None else tuple(_number(one) for one in (found.area, *found.rates))


def _number(one: Finding) -> Number:
    title = f"{title_of(one.metric)}, all attacks as one family" if one.fpr is None else title_of(one.metric)
    attack, samples = (one.attack or "–").removeprefix("membership/").replace("_", " "), f"{one.n:,} and {one.m:,}"
    if one.value is None or one.low is None:
        return Number(title, attack, "–", "–", _text(one.chance, one), samples, (), one.reason or "not measured")
    precision = [one.precision(prior) for prior in PRIORS] if one.fpr is not None else []
    named = tuple(f"{share:.0%} where {100 * prior:g} % are" for share, prior in zip(precision, PRIORS, strict=False) if share is not None)
    return Number(title, attack, _text(one.value, one), _text(one.low, one), _text(one.chance, one), samples, named)


def _text(value: float, one: Finding) -> str:
    return f"{value:.3f}" if one.fpr is None else f"{100 * value:.3g} %"
