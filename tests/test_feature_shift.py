"""The least shift of the features, against Lawson and Hanson's solution by non-negative least squares, and a planted lead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from scipy.optimize import nnls

from securitynet.attacks.backdoor.feature_shift import FeatureShift, least_norms
from securitynet.catalog import entry
from securitynet.data import Splits, draw
from securitynet.data.digits import image_set
from securitynet.data.transform import Transform
from securitynet.download import Files
from securitynet.errors import Skipped
from securitynet.loaders import load

NOTHING = Splits("none", None, 0, "unknown", 10, None, None, None, None, missing="no images")


def least_distance(rows: NDArray[np.float64], bounds: NDArray[np.float64]) -> float:
    """The least norm of d with rows @ d >= bounds (Lawson and Hanson 1974, chapter 23)."""
    system = np.vstack([rows.T, bounds])
    right = np.zeros(len(system))
    right[-1] = 1.0
    residual = system @ nnls(system, right)[0] - right
    return float(np.linalg.norm(residual[:-1] / residual[-1]))


@pytest.mark.parametrize("classes", [3, 10])
def test_the_quadratic_programme(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    features = torch.randn(200, 24, generator=generator, dtype=torch.float64).clamp_min(0)
    weights = torch.randn(classes, 24, generator=generator, dtype=torch.float64)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64)
    found = least_norms(features, weights, bias, 2000)
    logits = features @ weights.T + bias
    for one in range(classes):
        others = logits[logits.argmax(1) != one]
        bounds = np.quantile((others - others[:, [one]]).numpy(), 0.9, axis=0)
        rivals = [other for other in range(classes) if other != one]
        expected = least_distance((weights[one] - weights[rivals]).numpy(), bounds[rivals])
        assert float(found[one]) == pytest.approx(expected, rel=1e-3)


def test_a_class_that_is_given_to_every_image_has_no_statistic() -> None:
    found = least_norms(torch.zeros(5, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64), torch.tensor([1.0, 0, 0]).double(), 50)
    assert bool(found[0].isnan()) and not bool(found[1:].isnan().any())


def test_a_unit_that_carries_a_backdoor() -> None:
    target = load(entry("builtin/digits-regular"), Files(Path("nowhere"), offline=True))
    splits = draw(image_set(target.entry, target.folder), Transform.of(target.entry), 100)
    layer = next(one for one in reversed(list(target.module.modules())) if isinstance(one, torch.nn.Linear))
    with torch.no_grad():
        layer.weight[7, 3] += 20 * layer.weight.norm(dim=1).max()
    found = FeatureShift()(target, splits, Accelerator(cpu=True))
    assert found.target_class == 7 and found.forward > 0 and found.backward == 0


def test_without_images_it_is_skipped() -> None:
    with pytest.raises(Skipped, match="clean images"):
        FeatureShift()(load(entry("builtin/digits-regular"), Files(Path("nowhere"), offline=True)), NOTHING, Accelerator(cpu=True))
