"""The other columns of the study of 2024: a wider surrogate, and queries that are none of the target's own images."""

from __future__ import annotations

from securitynet.attacks.stealing._copier import Settings
from securitynet.attacks.stealing.knockoff import Knockoff

SUITES = ("full",)
VARIANTS = (
    Knockoff(preset="wide_surrogate", settings=Settings(surrogate="wide")),
    Knockoff(preset="ood_queries", settings=Settings(pool="ImageNet-1k")),
)
