"""MM-BD: for a backdoor's target, the largest margin that any image reaches is out of line (Wang et al. 2024, arXiv 2205.06900).

Needs no images. Per class t, the margin z_t - max of the other logits is maximised over pixels in [0,1] from random images;
the largest one is the class's statistic. The p-value is the paper's: of the largest statistic, under the gamma distribution
of the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._margins import largest_margins
from securitynet.attacks.backdoor._outliers import order_statistic_p
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class MmBd:
    """Plain gradient ascent from `starts` uniform images per class, at most `steps` steps of `rate` times the gradient.

    A class ends early where the sum of its margins changes by less than 1e-5 of itself. The defaults are the paper's.
    `seconds` is a time budget: classes that do not fit into it have no statistic.
    """

    starts: int = 30
    steps: int = 300
    rate: float = 0.01
    seconds: float | None = None

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return the largest margin of every class, and the p-value of the order-statistic test."""
        found = largest_margins(self, target, splits, accelerator)
        return replace(found, p_value=order_statistic_p(found.statistics))

    def move(self, images: Tensor, gradient: Tensor, done: float) -> Tensor:
        """Return the images after a step of `rate` times the gradient."""
        return images + self.rate * gradient
