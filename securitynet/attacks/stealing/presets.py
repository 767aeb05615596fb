"""The other columns of the study of 2024: a wider surrogate, and queries that are none of the target's own images."""

from __future__ import annotations

from dataclasses import replace

from securitynet.attacks.stealing.knockoff import BASE, Knockoff

SUITES = ("full",)
VARIANTS = (
    Knockoff(preset="wide_surrogate", settings=replace(BASE, surrogate="wide")),
    Knockoff(preset="ood_queries", settings=replace(BASE, pool="ImageNet-1k")),
)
