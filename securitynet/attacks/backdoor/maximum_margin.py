"""The largest margin of every class, in few steps: MM-BD's statistic at a hundredth of its price, for screening.

As in mm_bd, but from few random images and by steps of a given length whatever the gradient's, so that the scale of the
logits does not decide how far the ascent comes. The score is calibrated by clean models; no distribution is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._margins import largest_margins
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)
LAST = 0.04  # length of the last step, as a share of the first


@dataclass(frozen=True)
class MaximumMargin:
    """`steps` normalised steps from `starts` uniform images per class; `length` is the first one's, root mean square per pixel.

    The length falls linearly to a twenty-fifth. `seconds` is a time budget: classes that do not fit into it have no statistic.
    """

    starts: int = 6
    steps: int = 30
    length: float = 0.125
    seconds: float | None = None

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return the largest margin found for every class."""
        return largest_margins(self, target, splits, accelerator)

    @property
    def per_class(self) -> float:
        """Images that go forward and backward for each class."""
        return self.starts * self.steps

    def move(self, images: Tensor, gradient: Tensor, done: float) -> Tensor:
        """Return the images [g, starts, ...] after a step along the gradient; `done` is the share of steps done."""
        length = self.length * (1 - (1 - LAST) * done)
        size = gradient.square().flatten(2).mean(2).sqrt().clamp_min(1e-30)
        return images + length * gradient / size.view(*size.shape, *[1] * (gradient.ndim - 2))
