"""What label-only attacks share: the share of changed copies of an image that the model still labels right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from securitynet.attacks.membership import MembershipEvidence, ask, half
from securitynet.target import Target, query

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Split, Splits

Change = Callable[[nn.Module], nn.Module]


def share_right(changes: Sequence[Change], target: Target, splits: Splits, accelerator: Accelerator) -> MembershipEvidence:
    """Return, per image, the share of the plain image and its changed copies that gets its label; only labels are used."""
    plain = ask(target, splits, accelerator)
    assert splits.members is not None and splits.non_members is not None
    scores = []
    for part, outputs in zip((splits.members, splits.non_members), plain, strict=True):
        right = (outputs.predictions == outputs.labels).astype(np.float64)
        scores.append((right + _right(changes, target, part, accelerator)) / (1 + len(changes)))
    known = half(len(scores[0]), splits.seed), half(len(scores[1]), splits.seed + 1)
    query_count = (len(scores[0]) + len(scores[1])) * (1 + len(changes))
    return MembershipEvidence(scores[0], scores[1], *known, seed=splits.seed, query_count=query_count)


def _right(changes: Sequence[Change], target: Target, part: Split, accelerator: Accelerator) -> np.ndarray:
    right = np.zeros(len(part))
    for change in changes:
        right += query(target.wrap(change), part, accelerator).predictions == part.labels
    return right
