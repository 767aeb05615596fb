"""ImageRequest: which images a reader shall return, and how it picks parts and samples."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securitynet.cache import digest
from securitynet.data.dataset import ImageDataset

TRAIN = ("train", "training")
TEST = ("test", "testing", "t10k")
VALIDATION = ("validation", "valid", "val")
LARGE = 20  # times `samples`: a part beyond that is not read whole


@dataclass(frozen=True)
class ImageRequest:
    """The dataset expected (None: unknown), the model's classes, how many images per part (None: all), and by which seed.

    `names` are those of the model's classes, by label, where the model states them.
    """

    record: ImageDataset | None = None
    num_classes: int | None = None
    volumes: bool = False
    samples: int | None = None
    seed: int = 0
    cache: Path | None = None
    offline: bool = False
    names: tuple[str, ...] | None = None

    @property
    def classes(self) -> ImageDataset | None:
        """The record whose class names count: the dataset's, else one of the names that the model states, else None or one without."""
        if self.names is None or (self.record is not None and self.record.class_names is not None):
            return self.record
        return replace(self.record or ImageDataset(key="the model"), class_names=self.names, num_classes=len(self.names))

    def is_large(self, rows: int) -> bool:
        """Say whether a part of so many images is sampled before it is read."""
        return self.samples is not None and rows > LARGE * self.samples

    def generator(self, *parts: object) -> np.random.Generator:
        """Return a generator that depends on the seed and on `parts`."""
        return np.random.default_rng(int(digest(self.seed, *parts)[:16], 16))

    def split_names(self, found: Iterable[str]) -> dict[str, str]:
        """Return which of the split names found is the training part ("train") and which the test part ("test").

        The record's own names come first; then those commonly used, a test split before a validation split.
        """
        names = {name.lower(): name for name in found}
        train = (self.record and self.record.train_split) or TRAIN[0]
        test = (self.record and self.record.test_split) or TEST[0]
        others = VALIDATION + TEST if test in VALIDATION else TEST + VALIDATION
        chosen: dict[str, str] = {}
        for part, candidates in (("train", (train, *TRAIN)), ("test", (test, *others))):
            if name := next((names[name] for name in candidates if name in names), None):
                chosen[part] = name
        return chosen


def split_of(path: str) -> str | None:
    """Return the word in a path that says which split it belongs to (the last one), None where there is none."""
    words = re.split(r"[^a-z0-9]+", path.lower())
    return next((word for word in reversed(words) if word in TRAIN + TEST + VALIDATION), None)
