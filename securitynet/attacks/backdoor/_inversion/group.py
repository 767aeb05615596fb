"""Triggers of several classes, optimised together: one forward pass serves a batch of (class, image) pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from securitynet.attacks.backdoor._inversion.schedule import Schedule
from securitynet.attacks.backdoor._inversion.settings import InversionSettings

BETAS, TINY = (0.5, 0.9), 1e-7  # Adam's, as in the original
EDGE = 1e-7  # keeps tanh off its ends


class Group(NamedTuple):
    """Search state of `k` classes, everything along the first axis, and the number of steps done.

    `raw` [k, 1 + c, ...] holds mask and pattern before tanh, `mean` and `square` Adam's moments of it. `best` [k, 1 + c, ...]
    is the smallest trigger that reached success, in [0,1], and `size` [k] its L1 (infinite while there is none); `success`
    [k] the rate of the last step.
    """

    classes: Tensor
    raw: Tensor
    mean: Tensor
    square: Tensor
    best: Tensor
    size: Tensor
    success: Tensor
    schedule: Schedule
    steps: int = 0

    @classmethod
    def start(cls, classes: Tensor, shape: tuple[int, ...], settings: InversionSettings) -> Group:
        """Return fresh triggers for images of `shape` [c, ...], uniform in [0,1], each class with its own seed."""
        uniform = torch.stack([_uniform(int(one), shape, settings.seed) for one in classes]).to(classes.device)
        raw = torch.atanh((uniform - 0.5) * (2 - EDGE))
        zeros, count = torch.zeros_like(raw), len(classes)
        size, success = raw.new_full((count,), torch.inf), raw.new_zeros(count)
        return cls(classes, raw, zeros, zeros, triggers(raw), size, success, Schedule.start(count, classes.device))

    def take(self, rows: Tensor) -> Group:
        """Return the group of some of its classes, by position or mask."""
        return Group.of([value[rows] for value in self.tensors()], self.steps)

    def tensors(self) -> list[Tensor]:
        """Return everything that has a value per class."""
        return [*self[:7], *self.schedule]

    @classmethod
    def of(cls, tensors: Sequence[Tensor], steps: int) -> Group:
        """Return the group of what tensors() gave."""
        classes, raw, mean, square, best, size, success, *schedule = tensors
        return cls(classes, raw, mean, square, best, size, success, Schedule(*schedule), steps)

    @classmethod
    def some(cls, groups: Sequence[Group], classes: Sequence[int]) -> Group:
        """Return one group of these classes, wherever they are; of the others nothing is copied."""
        wanted = torch.tensor(classes, device=groups[0].classes.device)
        parts = [group.take(rows) for group in groups if bool((rows := torch.isin(group.classes, wanted)).any())]
        return cls.joined(parts)

    @classmethod
    def joined(cls, groups: Sequence[Group]) -> Group:
        """Return one group of several, in the order of their classes."""
        if len(groups) == 1:
            return groups[0].take(groups[0].classes.argsort())
        tensors = [torch.cat(parts) for parts in zip(*(group.tensors() for group in groups), strict=True)]
        return cls.of([part[tensors[0].argsort()] for part in tensors], max(group.steps for group in groups))


def _uniform(number: int, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
    return torch.rand(1 + shape[0], *shape[1:], generator=generator)


def triggers(raw: Tensor) -> Tensor:
    """Return mask and pattern in [0,1] of their unbounded form."""
    return torch.tanh(raw) / (2 - EDGE) + 0.5


def stamp(images: Tensor, found: Tensor) -> Tensor:
    """Return images [k, n, c, ...] with the trigger [k, 1 + c, ...] of each class, made as large as they are, on them."""
    found = fitted(found, images.shape[3:])
    mask, pattern = found[:, None, :1], found[:, None, 1:]
    return images + mask * (pattern - images)


def fitted(found: Tensor, size: Sequence[int]) -> Tensor:
    """Return triggers [k, 1 + c, ...] at `size`: every value of a coarse one stands for a block of pixels."""
    return found if tuple(found.shape[2:]) == tuple(size) else interpolate(found, size=list(size), mode="nearest")


def objective(
    module: nn.Module, images: Tensor, raw: Tensor, classes: Tensor, cost: Tensor, layout: torch.memory_format = torch.contiguous_format
) -> tuple[Tensor, Tensor]:
    """Return the losses [k], cross-entropy towards the class plus cost times the mask's L1, and the successes [k] as rates.

    `images` [k, n, c, ...] are in [0,1], before normalisation, which is part of `module`; `layout` is how it takes them.
    """
    found = triggers(raw)
    stamped = stamp(images, found).flatten(0, 1).contiguous(memory_format=layout)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
        logits = module(stamped).float()
    labels = classes.repeat_interleave(images.shape[1])
    towards = cross_entropy(logits, labels, reduction="none").view(len(classes), -1).mean(1)
    success = (logits.argmax(1) == labels).view(len(classes), -1).float().mean(1)
    return towards + cost * found[:, 0].flatten(1).sum(1), success.detach()


def adam(group: Group, gradient: Tensor, number: int, rate: float) -> Group:
    """Return the group after Adam's update `number` (from 1) with the gradient of `raw`."""
    mean = torch.lerp(gradient, group.mean, BETAS[0])
    square = torch.lerp(gradient.square(), group.square, BETAS[1])
    step = mean / (1 - BETAS[0] ** number) / ((square / (1 - BETAS[1] ** number)).sqrt() + TINY)
    return group._replace(raw=group.raw - rate * step, mean=mean, square=square)
