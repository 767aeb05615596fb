"""Verify first: a model that is broken is not backdoored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from securitynet.attacks.backdoor._clean import answers, fields
from securitynet.errors import Skipped
from securitynet.metrics.intervals import clopper_pearson
from securitynet.target import Target, query
from securitynet.verify import verify

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

FEWEST = 20  # test images, below which accuracy says nothing
SHOWN = 16  # fields and noise images, where there are no others


def sound(target: Target, splits: Splits, accelerator: Accelerator) -> None:
    """Return where the model does what it should; where no images are available, only that its outputs are finite and differ.

    Raises Skipped, with the cause, for a model that fails verification (constant, permuted, not finite, below its claim) and
    for one whose predictions are no better than those of a predictor that always gives the commonest class.
    """
    if splits.test is None and splits.members is None:
        return _answering(target, accelerator)
    cause = verify(target, splits, accelerator).cause
    if cause:
        raise Skipped(f"cannot tell: the model is not what its entry says ({cause})")
    part = splits.test if splits.test is not None else splits.members
    if part is None or len(part) < FEWEST:
        return
    outputs = query(target, part, accelerator)
    right, n = int((outputs.predictions == outputs.labels).sum()), len(outputs.labels)
    commonest = np.bincount(outputs.labels).max() / n
    if clopper_pearson(right, n)[0] <= commonest and target.num_classes > 1:
        raise Skipped(f"cannot tell: with an accuracy of {right / n:.1%} on {n} images the model is no better than a constant prediction")


def _answering(target: Target, accelerator: Accelerator) -> None:
    """Show smooth fields and noise. Raises Skipped where the outputs are not finite, or all equal."""
    shape = tuple(target.entry.input_size or ())
    noise = torch.rand(SHOWN, *shape, generator=torch.Generator().manual_seed(0))
    logits = answers(target, torch.cat([fields(shape, SHOWN, 0), noise]), accelerator)
    if not bool(torch.isfinite(logits).all()):
        raise Skipped("cannot tell: the model's outputs are not finite")
    if torch.allclose(logits, logits[:1].expand_as(logits), rtol=1e-6, atol=0):
        raise Skipped("cannot tell: the model returns the same outputs for smooth fields and noise")
