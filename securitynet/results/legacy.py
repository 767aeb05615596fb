"""Rows of schema 1: what stood in a metric's name or followed from the attack stands in a column now.

`<metric>_at_<budget>` was a metric of a smaller budget; the largest budget had the plain name. Which samples a membership
number is of followed from the attack, what a p-value rests on stood in a sentence. The old id is kept in `legacy_id`, so that
the same measurement is known again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from securitynet.metrics.judgement import LEVEL, NEAREST_LEVEL
from securitynet.metrics.vocabulary import FLAGGED, P_VALUE, VOCABULARY

AT_BUDGET = re.compile(r"(.+)_at_(\d+)")
ON_HALF = (  # fitted on one half, so measured on the other
    "membership/boosting",
    "membership/mlp",
    "membership/modified_entropy_per_class",
    "membership/quantile",
)
UNCALIBRATED, NO_NULL = "calibrated: no", "no clean models were measured"  # in the sentences of detectors
PARTLY = " classes within ", "time was up before", "not counted"


def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a row in the present schema; one that has it already is returned as it is.

    Only rows of this package are read anew: what others published never had budgets or halves in names.
    """
    if record.get("schema") is not None:
        return dict(record)
    facts = _facts(record) if record.get("origin") == "securitynet" else {}
    current = {**record, **facts}
    current.pop("schema", None)
    if facts:
        current["legacy_id"] = record.get("row_id")
    return current


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that follow from the name of the metric, the attack and its hyper-parameters."""
    family, metric = record.get("family"), str(record.get("metric") or "")
    params = json.loads(record.get("params") or "{}")
    if family == "stealing":
        if smaller := AT_BUDGET.fullmatch(metric):
            return {"metric": smaller[1], "budget": int(smaller[2])}
        known = VOCABULARY.get(metric)
        return {"budget": _largest(params, record.get("queries"))} if known is not None and known.per_budget else {}
    if family == "membership" and metric in VOCABULARY:
        half = VOCABULARY[metric].half or record.get("attack") in ON_HALF or params.get("held_out") is True
        return {"scope": "half" if half else "all"}
    if family == "backdoor" and metric in (P_VALUE, FLAGGED):
        return _judged(str(record.get("reason") or ""))
    return {}


def _judged(reason: str) -> dict[str, Any]:
    """What a detector's sentence said of its p-value."""
    if NO_NULL in reason:
        return {"calibrated": False, "complete": True, "level": None}
    calibrated, complete = UNCALIBRATED not in reason, not any(words in reason for words in PARTLY)
    return {"calibrated": calibrated, "complete": complete, "level": LEVEL if calibrated else NEAREST_LEVEL}


def _largest(params: Mapping[str, Any], queries: int | None) -> int | None:
    """The largest budget that was reached: of those among the hyper-parameters, but no more than was queried."""
    listed = params.get("budgets") or [params.get("budget")]
    numbers = [one for one in listed if isinstance(one, int)]
    return min([max(numbers), *([] if queries is None else [queries])]) if numbers else queries
