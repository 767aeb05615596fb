"""Reference models taken from the catalog: nothing is trained, and what they were trained on is an assumption."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from securitynet.cache import ArrayCache
from securitynet.data import Splits
from securitynet.data.dataset import find
from securitynet.data.prepared import beside
from securitynet.data.transform import Transform
from securitynet.errors import Skipped, UsageError
from securitynet.references.maker import Change
from securitynet.target import Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.references import References


@dataclass(frozen=True)
class Public:
    """Models that others trained, by id (local files and folders will do). They are queried as the model under test is.

    They count as models without the sample, for members and non-members alike, so they serve offline attacks only.
    """

    models: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.models:
            raise UsageError("reference models taken from the catalog: name at least one, as in Public(('akamaster/resnet44',))")

    @property
    def count(self) -> int:
        """How many."""
        return len(self.models)

    @property
    def assumption(self) -> str:
        """What the numbers rest on, as a sentence."""
        names = ", ".join(self.models)
        return (
            f"reference models taken from the catalog ({names}), assumed not to have been trained on these images: "
            "what they remember of them, where they were, is not counted"
        )


def public_answers(public: Public, splits: Splits, accelerator: Accelerator, cache: ArrayCache, change: Change | None = None) -> References:
    """Return what the models return on members and non-members, from `cache` where they were queried before.

    `change` wraps a model, for outputs on changed images. Raises Skipped where the splits or a model cannot serve: one that was
    trained on the same training images, as far as its record says, remembers what it should not have seen.
    """
    from securitynet.references import References

    if splits.members is None or splits.non_members is None:
        raise Skipped(f"reference models need training and test images: {splits.missing}")
    parts, logits = (splits.members, splits.non_members), []
    for name in public.models:
        target = _loaded(name, splits, cache)
        asked = target if change is None else target.wrap(change)
        shown = [replace(part, transform=beside(part.transform, Transform.of(target.entry))) for part in parts]
        logits.append(np.concatenate([query(asked, part, accelerator).logits for part in shown]))
    labels = np.concatenate([part.labels for part in parts]).astype(np.int64)
    return References(np.stack(logits), np.zeros((len(labels), public.count), dtype=bool), labels)


def _loaded(name: str, splits: Splits, cache: ArrayCache) -> Target:
    from securitynet.loaders import load_model

    root = None if cache.directory is None else cache.directory.parent  # outputs lie beside what is downloaded
    target = replace(load_model(name, cache_dir=root), cache=cache)
    if target.num_classes != splits.num_classes:
        raise Skipped(f"{name} cannot be a reference: it knows {target.num_classes} classes, the model under test {splits.num_classes}")
    known = find(target.entry.dataset)
    if known is not None and known.key == splits.dataset:
        raise Skipped(
            f"{name} cannot be a reference: by its record it was trained on {splits.dataset}, as the model under test was; "
            "references must not hold the images (trained on others, or trained here: a number in place of Public)"
        )
    return target
