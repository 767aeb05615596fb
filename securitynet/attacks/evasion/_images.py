"""Which images are attacked, and what the model makes of them as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from securitynet.errors import Skipped
from securitynet.target import Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits


@dataclass(frozen=True, eq=False)
class Chosen:
    """`part` is a split of the n images that are attacked, `positions` int64 [n] their places in the split they were drawn from.

    `right` bool [n] are those that the model classifies rightly as they are: the others need no attack.
    """

    part: Split
    positions: NDArray[np.int64]
    right: NDArray[np.bool_]


def choose(target: Target, splits: Splits, images: int, accelerator: Accelerator) -> Chosen:
    """Return at most `images` test images, drawn by the seed of the splits. Raises Skipped where there are none, or for volumes."""
    test = splits.test if splits.test is not None else splits.non_members
    if test is None or not len(test):
        raise Skipped(splits.missing or "no test images")
    if len(test.transform.input_size) != 3:
        raise Skipped("the attack is defined for images [c, h, w]")
    positions = np.sort(np.random.default_rng(splits.seed).permutation(len(test))[:images])
    part = replace(test, indices=test.indices[positions], labels=test.labels[positions])
    outputs = query(target, part, accelerator)
    return Chosen(part, positions, outputs.predictions == part.labels)
