"""What follows from a definition is no finding: which pairs of measures share a term, and which lie on an exact line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securitynet.metrics.vocabulary import EXCESS_AGREEMENT, RELATIVE_ACCURACY
from securitynet.report.measure_table import GAP, TEST, TRAIN, parts_of

Floats = NDArray[np.float64]
EXACT = 2e-6  # printed numbers have six digits
CORRECTNESS = "the correctness AUC is 0.5 + overfitting level / 2 by definition"


def definition(x: str, y: str) -> str | None:
    """Return why `y` depends on `x` by definition, None where it does not."""
    attack, _, metric = parts_of(y)
    accuracies = (TRAIN, TEST, GAP)
    if attack == "membership/correctness" and x in accuracies:
        return CORRECTNESS if x == GAP else f"{CORRECTNESS}, and that level is train minus target accuracy"
    if x in accuracies and y in accuracies:
        return "the overfitting level is train minus target accuracy by definition"
    if metric in (RELATIVE_ACCURACY, EXCESS_AGREEMENT) and x == TEST:
        return f"{metric.replace('_', ' ')} has the target accuracy in its definition"
    return None


def exact(x: Floats, y: Floats, accuracies: Floats) -> str | None:
    """Return why y [n] is no measurement beside x [n]: an exact line of it, or of it and the model's accuracies [n, k]."""
    if _on_line(x[:, None], y):
        return "every value lies on one exact line: that is a definition, not a measurement"
    if accuracies.shape[1] and _on_line(np.column_stack([x, accuracies]), y) and not _on_line(accuracies, y):
        return "every value is an exact sum of this and the model's accuracies: that is a definition, not a measurement"
    if accuracies.shape[1] and _on_line(accuracies, y):
        return "every value is an exact sum of the model's accuracies: that is a definition, not a measurement"
    return None


def _on_line(x: Floats, y: Floats) -> bool:
    """Say whether y is a linear function of the columns of x to printed precision; it must have points to spare."""
    design = np.column_stack([np.ones(len(y)), x])
    if len(y) < design.shape[1] + 4 or np.ptp(y) < 100 * EXACT:
        return False
    beta, *_ = np.linalg.lstsq(design, y, rcond=None)
    return bool(np.abs(y - design @ beta).max() < EXACT)
