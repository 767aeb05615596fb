"""Label-only, by noise: members keep their label under more noise (Choquette-Choo et al. 2021, section 4.2, random noise)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from securitynet.attacks.membership import MembershipEvidence
from securitynet.attacks.membership._label_only import share_right
from securitynet.attacks.membership._perturbed import Noisy
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class Noise:
    """Share of right predictions over `patterns` Gaussian patterns at each standard deviation (pixels in [0,1]), clipped to [0,1]."""

    sigmas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    patterns: int = 4

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
        """Return the share of right predictions of members and non-members."""
        shape = tuple(target.entry.input_size or ())
        settings = [(sigma, splits.seed * 1000 + pattern) for sigma in self.sigmas for pattern in range(self.patterns)]
        changes = [partial(Noisy, shape=shape, sigma=sigma, seed=seed) for sigma, seed in settings]
        return share_right(changes, target, splits, accelerator)
