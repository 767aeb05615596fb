"""Output defences tried on a model: what each does to leak, copy and accuracy, before and after in one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from securitynet.metrics.vocabulary import ACCURACY, AGREEMENT, EXCESS_AGREEMENT, TEST_ACCURACY
from securitynet.report.audit.facts import leak
from securitynet.results.curves import budget_of
from securitynet.results.evidence import Arrays
from securitynet.results.headline import headline
from securitynet.results.row import Row

DEFENCES = ("rounding:1", "top-k:1", "label-only", "temperature:2", "noise:0.1")
NONE = "none"


@dataclass(frozen=True)
class Number:
    """A number with its 95 % interval; None where there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        ends = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{ends}"


@dataclass(frozen=True)
class Tried:
    """One defence: accuracy of the defended model, AUC of the strongest attack on it, what a copy of it has; `reason`: why numbers lack."""

    defence: str
    accuracy: Number
    auc: Number
    attack: str | None
    agreement: Number
    excess: Number
    copy_accuracy: Number
    queries: int | None = None
    reason: str | None = None

    @classmethod
    def of(cls, defence: str, rows: Sequence[Row], evidence: Iterable[Arrays]) -> Tried:
        """Return the line of an evaluation of the defended model: its rows and the arrays behind them."""
        found = headline([row for row in rows if row.family in ("membership", "verify")], evidence)
        strongest = leak(rows, found)
        area = found.area if found is not None else None
        auc = Number() if area is None else Number(area.value, area.low, area.high)
        budget = max((budget_of(row) or 0 for row in rows if row.metric == AGREEMENT), default=0)
        cause = next((row.reason for row in rows if row.value is None and row.reason and row.family == "stealing"), None)
        return cls(
            defence, _number(rows, "verify", TEST_ACCURACY), auc, area.attack if area is not None else strongest.attack,
            _number(rows, "stealing", AGREEMENT, budget), _number(rows, "stealing", EXCESS_AGREEMENT, budget),
            _number(rows, "stealing", ACCURACY, budget), budget or None, cause if not budget else None,
        )  # fmt: skip


def _number(rows: Sequence[Row], family: str, metric: str, budget: int | None = None) -> Number:
    found = (row for row in rows if (row.family, row.metric) == (family, metric) and row.value is not None and row.attack[:7] != "control")
    row = next((one for one in found if budget is None or budget_of(one) == budget), None)
    return Number() if row is None else Number(row.value, row.ci_low, row.ci_high)


def best_of(tried: Sequence[Tried]) -> str | None:
    """Say which defence lowers a copy's agreement most at a cost of at most one point of accuracy; None where none was tried."""
    plain = next((one for one in tried if one.defence == NONE), None)
    if plain is None or plain.agreement.value is None or plain.accuracy.value is None:
        return None
    cheap = [
        one for one in tried
        if one.defence != NONE and one.agreement.value is not None and (one.accuracy.value or 0.0) >= plain.accuracy.value - 0.01
    ]  # fmt: skip
    best = min(cheap, key=lambda one: one.agreement.value or 0.0, default=None)
    if best is None or best.agreement.high is None or plain.agreement.low is None or best.agreement.high >= plain.agreement.low:
        return "measured: no defence that was tried lowers the agreement clearly at a cost of at most one point of accuracy"
    return f"measured: {best.defence} lowers the agreement of a copy from {plain.agreement.value:.1%} to {best.agreement.value:.1%}"
