"""Backdoor detection rates, as a module of `evaluate`; the numbers are made by securitynet.metrics."""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from securitynet.metrics.detection import rates
from securitynet.metrics.modules import flat

DESCRIPTION = "True-positive rate, false-positive rate and precision of a backdoor detector's alarms, with exact 95 % intervals."
INPUTS = "predictions: 1 where the detector raises an alarm, else 0. references: 1 where there is a backdoor, else 0."


class BackdoorDetection(evaluate.Metric):  # type: ignore[misc]
    """Backdoor detection rates: `compute(predictions=..., references=...)`; see INPUTS."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description=INPUTS, features=features)

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float | int | None]:
        return flat(rates(np.asarray(predictions).astype(bool), np.asarray(references).astype(bool)))
