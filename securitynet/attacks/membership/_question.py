"""A question about a whole set of images whose members are not known: the set, images known as unseen, and what rates come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.attacks.membership import Scores
from securitynet.data import Split
from securitynet.errors import Skipped, UsageError
from securitynet.metrics.usage import FEWEST
from securitynet.references import ReferenceSettings, reference_answers
from securitynet.target import Outputs, Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

Statistic = Callable[[Outputs], Scores]
SMALLEST = 20  # images of either kind


@dataclass(frozen=True, eq=False)
class Question:
    """The questioned images and the unseen ones; `known` are images known as members, None where there are none."""

    questioned: Split
    unseen: Split
    known: Split | None
    splits: Splits

    @classmethod
    def of(cls, target: Target, splits: Splits, images: str | None) -> Question:
        """Return the question about the images at `images`, or about the training part of the data where that is None.

        Raises Skipped with the reason where images are missing, UsageError for an unknown path.
        """
        unseen = splits.non_members
        questioned = splits.members if images is None else _read(target, splits, images)
        if unseen is None or questioned is None:
            raise Skipped(
                f"needs the images in question and some that the model has surely not seen: {splits.missing or 'none were found'}"
            )
        known = splits.members if images is not None and splits.membership != "unknown" else None
        if known is not None:
            known = _without(known, questioned)
        questioned = _without(questioned, unseen)
        if min(len(questioned), len(unseen)) < SMALLEST:
            raise Skipped(
                f"needs at least {SMALLEST} images in question and {SMALLEST} unseen, there are {len(questioned)} and {len(unseen)}"
            )
        return cls(questioned, unseen, known if known is not None and len(known) >= SMALLEST else None, splits)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many images are in question, and how many are unseen."""
        return len(self.questioned), len(self.unseen)

    def scored(self, statistic: Statistic, target: Target, accelerator: Accelerator) -> tuple[Scores, Scores]:
        """Return the statistic of the questioned and of the unseen images. Raises Skipped where outputs are not finite."""
        returned = [query(target, part, accelerator) for part in (self.questioned, self.unseen)]
        if not all(outputs.finite for outputs in returned):
            raise Skipped("the model's outputs are not finite")
        first, second = (np.asarray(statistic(outputs), np.float64) for outputs in returned)
        return first, second

    def calibrated(self, statistic: Statistic, target: Target, references: int | ReferenceSettings, accelerator: Accelerator) -> Calibrated:
        """Return the target's and the references' scores, less the mean of the references without the image.

        The references are trained on halves of both kinds of images together. Raises UsageError for an odd number of them, or few.
        """
        settings = ReferenceSettings(count=references) if isinstance(references, int) else references
        if settings.count < FEWEST or settings.count % 2:
            raise UsageError(f"references must be an even number, at least {FEWEST}, not {settings.count}")
        pool = replace(self.splits, members=self.questioned, non_members=self.unseen)
        made = reference_answers(pool, settings, accelerator, target.cache)
        return Calibrated.of(
            np.concatenate(self.scored(statistic, target, accelerator)), made.statistic(statistic), made.held, self.sizes[0]
        )


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Scores of the questioned, then the unseen images: `target` [n], `references` [n, k], each less the mean of the others without it.

    `held` bool [n, k] says which reference was trained on which image; the first `count` images are the questioned ones.
    """

    target: Scores
    references: Scores
    held: NDArray[np.bool_]
    count: int

    @classmethod
    def of(cls, target: Scores, references: Scores, held: NDArray[np.bool_], count: int) -> Calibrated:
        """Subtract, from each score, the mean score of the references that did not hold the image, the one itself left out."""
        outside = ~held
        total, number = np.where(outside, references, 0.0).sum(axis=1), outside.sum(axis=1)
        others = (total[:, None] - np.where(outside, references, 0.0)) / (number[:, None] - outside)
        return cls(target - total / number, references - others, held, count)

    @property
    def questioned(self) -> NDArray[np.bool_]:
        """Which images are in question, bool [n]."""
        return np.arange(len(self.target)) < self.count

    def gaps(self) -> tuple[float, list[float]]:
        """Return how much higher the questioned images score than the unseen: the target's, and each reference's on what it held not."""
        questioned = self.questioned
        own = float(self.target[questioned].mean() - self.target[~questioned].mean())
        columns = zip(self.references.T, self.held.T, strict=True)
        return own, [float(scores[questioned & ~held].mean() - scores[~questioned & ~held].mean()) for scores, held in columns]


def files_of(images: str | None) -> list[Path]:
    """Return the files at a path, which decide the result as the settings do."""
    path = None if images is None else Path(images).expanduser()
    if path is None or not path.exists():
        return []
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def _read(target: Target, splits: Splits, images: str) -> Split | None:
    """The training part of what lies at a path, or its test part where there is no other."""
    from securitynet.data.readers import image_set

    beside = splits.non_members or splits.members
    if beside is None:
        return None
    if not Path(images).expanduser().exists():
        raise UsageError(f"images={images}: no such file or folder; it takes what --data takes")
    found = image_set(target.entry, data=images, samples=None, seed=splits.seed)
    part = found.train if found.train is not None else found.test
    if part is None:
        return None
    labels = np.asarray(part.labels)
    if len(labels) and not 0 <= labels.min() <= labels.max() < splits.num_classes:
        raise UsageError(f"images={images}: labels run from {labels.min()} to {labels.max()}, the model has {splits.num_classes} classes")
    return Split("questioned", part, np.arange(len(part)), labels, beside.transform)


def _without(part: Split, other: Split) -> Split:
    """The images of `part` that do not stand in `other`, pixel by pixel: what is known of those decides nothing about the rest."""
    from securitynet.controls.twins import codes_of

    kept = ~np.isin(codes_of(part), codes_of(other))
    return part if kept.all() else replace(part, indices=part.indices[kept], labels=part.labels[kept])
