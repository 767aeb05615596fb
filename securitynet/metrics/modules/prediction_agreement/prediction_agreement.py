"""Prediction agreement, as a module of `evaluate`; the numbers are made by securitynet.metrics."""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from securitynet.metrics.fidelity import agreement
from securitynet.metrics.modules import flat

DESCRIPTION = "The share of inputs on which two classifiers name the same class, with its exact 95 % interval."
INPUTS = "predictions: classes that one model names. references: classes that the other model names for the same inputs."


class PredictionAgreement(evaluate.Metric):  # type: ignore[misc]
    """Prediction agreement: `compute(predictions=..., references=...)`; see INPUTS."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description=INPUTS, features=features)

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float | int | None]:
        return flat([agreement(np.asarray(predictions), np.asarray(references))])
