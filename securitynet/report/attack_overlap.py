"""Which members each attack finds, and how far the attacks find the same ones."""

from __future__ import annotations

import json
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from securitynet.errors import UsageError
from securitynet.metrics.membership import threshold_at
from securitynet.results.evidence import Scored
from securitynet.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

ANY = "any of them"


def found(result: Result, fpr: float = 0.01) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what each attack calls a member at a false-positive rate of at most `fpr`: of the members, and of the non-members.

    Both bool, one column per attack (its label), one line per sample, indexed by position in the training or test part. All
    attacks are compared on the same samples: where one was fitted on some, on the others. A score that ties at the threshold
    is not found. Raises UsageError where there are too few non-members for that rate.
    """
    import pandas as pd

    attacks, splits = _compared(result), result.splits
    assert splits.members is not None and splits.non_members is not None
    inside = reduce(np.intersect1d, [one.positions for one in attacks])
    outside = reduce(np.intersect1d, [one.non_positions for one in attacks])
    calls: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for one in attacks:
        members = one.members[np.searchsorted(one.positions, inside)]
        non_members = one.non_members[np.searchsorted(one.non_positions, outside)]
        threshold = threshold_at(non_members, fpr)
        if threshold is None:
            raise UsageError(f"a false-positive rate of {fpr:g} needs at least {1 / fpr:.0f} non-members, there are {len(outside)}")
        calls[one.label] = members > threshold, non_members > threshold
    indices = splits.members.indices[inside], splits.non_members.indices[outside]
    tables = [pd.DataFrame({label: call[side] for label, call in calls.items()}, index=indices[side]) for side in (0, 1)]
    return tables[0], tables[1]


def overlap(result: Result, fpr: float = 0.01) -> pd.DataFrame:
    """Return coverage and agreement of the attacks, one line each and one for "any of them".

    Columns: found (members, a count), tpr, fpr (what it is on the non-members; that of the union is higher than of each),
    alone (found by no other attack; of the union: by exactly one), then the Jaccard index with each of the others: shared
    members over those that either finds, NaN where neither finds any. Raises as found() does.
    """
    import pandas as pd

    members, non_members = (table.assign(**{ANY: table.any(axis=1)}) for table in found(result, fpr))
    hits = members.to_numpy(dtype=np.int64)
    shared = hits.T @ hits
    counts = shared.diagonal()
    with np.errstate(invalid="ignore"):
        jaccard = shared / (counts[:, None] + counts - shared)
    single = hits[:, :-1].sum(axis=1) == 1
    alone = [*hits[single, :-1].sum(axis=0), single.sum()]
    columns = {"found": counts, "tpr": hits.mean(axis=0), "fpr": non_members.to_numpy().mean(axis=0), "alone": alone}
    return pd.DataFrame({**columns, **dict(zip(members.columns, jaccard, strict=True))}, index=members.columns)


def _compared(result: Result) -> list[Scored]:
    """The attacks, without those that differ from another only in the samples that they are measured on."""
    attacks = result.scored()
    plain = {_measured(one) for one in attacks if not _measured(one)[1]}
    kept = [one for one in attacks if not _measured(one)[1] or (_measured(one)[0], False) not in plain]
    if not kept:
        raise UsageError("no attack of this result has scores to compare")
    return kept


def _measured(one: Scored) -> tuple[str, bool]:
    """Return the attack with its other hyper-parameters, and whether it is measured on the half that it was not fitted on."""
    params = {key: value for key, value in json.loads(one.params).items() if key != "held_out"}
    return one.attack + json.dumps(params, sort_keys=True), one.half
