"""Surrogate fidelity, as a module of `evaluate`; the numbers are made by securitynet.metrics."""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from securitynet.metrics.fidelity import agreement, kl, total_variation
from securitynet.metrics.modules import flat

DESCRIPTION = (
    "How faithfully a surrogate's probabilities follow its target's: agreement of classes, Kullback-Leibler divergence, total variation."
)
INPUTS = "predictions: the surrogate's probabilities, one list of k numbers per sample. references: the target's, likewise."


class SurrogateFidelity(evaluate.Metric):  # type: ignore[misc]
    """Surrogate fidelity: `compute(predictions=..., references=...)`; see INPUTS."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Sequence(datasets.Value("float64"))}
        )
        return evaluate.MetricInfo(description=DESCRIPTION, citation="", inputs_description=INPUTS, features=features)

    def _compute(self, predictions: list[list[float]], references: list[list[float]]) -> dict[str, float | int | None]:
        surrogate, target = (np.asarray(rows, dtype=np.float64) for rows in (predictions, references))
        return flat([agreement(surrogate.argmax(1), target.argmax(1)), kl(surrogate, target), total_variation(surrogate, target)])
