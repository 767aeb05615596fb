"""Membership leakage, as a module of `evaluate`; the numbers are made by securitynet.metrics."""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from securitynet.metrics.membership import FALSE_POSITIVE_RATES, auc, tpr_at_fpr
from securitynet.metrics.modules import flat

DESCRIPTION = "How well scores tell training images from others: ROC-AUC and true-positive rates at few false alarms, with 95 % intervals."
INPUTS = (
    "predictions: one score per sample, larger means more likely a training image. "
    "references: 1 for training images (members), 0 for others."
)


class MembershipLeakage(evaluate.Metric):  # type: ignore[misc]
    """Membership leakage: `compute(predictions=..., references=...)`; see INPUTS."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("float64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description=INPUTS, features=features)

    def _compute(self, predictions: list[float], references: list[int]) -> dict[str, float | int | None]:
        scores, members = np.asarray(predictions, dtype=np.float64), np.asarray(references).astype(bool)
        inside, outside = scores[members], scores[~members]
        return flat([auc(inside, outside), *(tpr_at_fpr(inside, outside, rate) for rate in FALSE_POSITIVE_RATES)])
