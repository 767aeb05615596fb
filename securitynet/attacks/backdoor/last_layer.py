"""The last layer alone: how far its weights let a class lead every rival. Milliseconds, no images, no forward pass.

Per class t and unit u of the features, w_tu - max of the other classes' w_ju is the lead that this unit gives t over its
strongest rival; the statistic is the norm of the positive leads, the margin that features >= 0 of norm one can surely reach.
A backdoor that a few units carry gives its target a large one. It is a weak test: see the table in the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from securitynet.attacks.backdoor import BackdoorEvidence
from securitynet.attacks.backdoor._outliers import first_candidate, standardised_gap
from securitynet.errors import Skipped
from securitynet.target import Target

if TYPE_CHECKING:
    from accelerate import Accelerator

    from securitynet.data import Splits

SUITES = ("full",)


@dataclass(frozen=True)
class LastLayer:
    """Norm of the positive leads of every class in the weights of the last linear layer or 1x1 convolution."""

    def __call__(self, target: Target, splits: Splits, accelerator: Accelerator) -> BackdoorEvidence:
        """Return every class's statistic. Raises Skipped where no last linear layer is found."""
        statistics = leads(head_weights(target)).cpu().numpy()
        return BackdoorEvidence(statistics, standardised_gap(statistics), first_candidate(statistics), None, forward=0)


def leads(weights: Tensor) -> Tensor:
    """Return, float64 [k], the norm of the positive leads of each row of `weights` [k, d] over the largest other row."""
    top = weights.topk(2, dim=0)
    rivals = top.values[0].expand_as(weights).clone()
    rivals.scatter_(0, top.indices[:1], top.values[1:])
    return (weights - rivals).clamp_min(0).norm(dim=1)


def head(target: Target) -> nn.Linear | nn.Conv2d:
    """Return the last linear layer or 1x1 convolution with as many outputs as the entry has classes. Raises Skipped if none."""
    count = target.entry.num_classes
    for module in reversed(list(target.module.modules())):
        if isinstance(module, nn.Linear) and module.out_features == count:
            return module
        if isinstance(module, nn.Conv2d) and module.out_channels == count and module.kernel_size == (1, 1):
            return module
    raise Skipped(f"no linear layer or 1x1 convolution with {count} outputs: the last layer cannot be identified")


def head_weights(target: Target) -> Tensor:
    """Return the last layer's weights as float64 [k, d], rows in the order of the target's classes."""
    return in_order(head(target).weight.detach().double().flatten(1), target)


def in_order(rows: Tensor, target: Target) -> Tensor:
    """Return the rows [outputs, ...] of the last layer in the order of the target's classes [k, ...]."""
    if target.entry.class_map == "background-first":
        return rows[1:]
    return rows[torch.tensor(target.entry.class_list)] if target.entry.class_map == "list" else rows
