"""Which training images are stamped, and what they are labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from securitynet.errors import UsageError

MODES = ("all-to-one", "all-to-all", "clean-label")


@dataclass(frozen=True, kw_only=True)
class Poisoning:
    """`rate` is the share of all training images that are stamped, at most those that `mode` allows.

    all-to-one: images of other classes become `target`. all-to-all: class y becomes y + 1 (Gu et al. 2017, arXiv 1708.06733).
    clean-label: images of the target itself, which keep their label (Turner, Tsipras, Madry 2019, arXiv 1912.02771). `decoys`
    is the share of images that carry a wrong trigger and their own label, for triggers that have such.
    """

    rate: float = 0.1
    target: int = 0
    mode: str = "all-to-one"
    decoys: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"poisoning: unknown mode {self.mode!r}; known: {', '.join(MODES)}")
        if not 0 <= self.rate <= 1 or not 0 <= self.decoys <= 1:
            raise UsageError("poisoning: rate and decoys are shares, from 0 to 1")

    def victims(self, labels: np.ndarray) -> np.ndarray:
        """Return bool [n]: images whose prediction a trigger changes, those that its success is measured on."""
        everything = np.ones(len(labels), dtype=bool)
        return everything if self.mode == "all-to-all" else labels != self.target

    def wanted(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return int64 [n]: the class that the trigger shall give each image."""
        return (labels + 1) % classes if self.mode == "all-to-all" else np.full(len(labels), self.target)

    def chosen(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the sorted indices of the images that are stamped."""
        allowed = labels == self.target if self.mode == "clean-label" else self.victims(labels)
        candidates = np.flatnonzero(allowed)
        return np.sort(rng.choice(candidates, min(round(self.rate * len(labels)), len(candidates)), replace=False))


@dataclass(frozen=True, eq=False)
class Poisoned:
    """Training images float [n, c, h, w] and labels int64 [n] with the stamped ones in their places; `stamped`, `decoys`: where."""

    images: Tensor
    labels: Tensor
    stamped: np.ndarray
    decoys: np.ndarray


def poison(images: Tensor, labels: np.ndarray, trigger: Any, plan: Poisoning, classes: int, seed: int = 0) -> Poisoned:
    """Return the training set that plants `trigger`: `images` float [n, c, h, w] in [0,1], of which a share is stamped in place.

    Raises UsageError where decoys are asked of a trigger that has none.
    """
    rng, generator = np.random.default_rng([seed, 77]), torch.Generator().manual_seed(seed)
    stamped = plan.chosen(labels, rng)
    rest = np.setdiff1d(np.arange(len(labels)), stamped)
    decoys = np.sort(rng.choice(rest, min(round(plan.decoys * len(labels)), len(rest)), replace=False))
    images, as_trained = images.clone(), labels.copy()
    images[stamped] = trigger.stamp(images[stamped])
    if plan.mode != "clean-label":
        as_trained[stamped] = plan.wanted(labels[stamped], classes)
    if len(decoys):
        if not hasattr(trigger, "decoys"):
            raise UsageError(f"poisoning: the trigger {trigger.poison} has no decoys")
        images[decoys] = trigger.decoys(images[decoys], generator)
    return Poisoned(images, torch.from_numpy(as_trained), stamped, decoys)
