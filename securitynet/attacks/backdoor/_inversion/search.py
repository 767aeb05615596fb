"""The search itself: a group of classes goes a number of steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from securitynet.attacks.backdoor._inversion.group import Group, adam, objective, stamp, triggers
from securitynet.attacks.backdoor._inversion.search_images import SearchImages
from securitynet.attacks.backdoor._inversion.settings import InversionSettings
from securitynet.errors import LoadError

SIDE = 32  # of the images at which `initial_cost` is stated


@dataclass(frozen=True, eq=False)
class Search:
    """The model, the images and the settings of one search."""

    module: nn.Module
    pool: SearchImages
    settings: InversionSettings

    @cached_property
    def layout(self) -> torch.memory_format:
        """On CUDA pixels lie side by side, which is faster there, unless the network flattens with view(), which refuses them."""
        if not self.pool.pixels.is_cuda or self.pool.pixels.ndim != 4:
            return torch.contiguous_format
        try:
            self.module(self.pool.pixels[:2].contiguous(memory_format=torch.channels_last))
        except RuntimeError:
            return torch.contiguous_format
        return torch.channels_last

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape [c, ...] of an image."""
        return tuple(self.pool.pixels.shape[1:])

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape [c, ...] of a trigger: that of an image, or coarser."""
        return (self.shape[0], *(max(1, side // self.settings.coarse) for side in self.shape[1:]))

    @property
    def cell(self) -> float:
        """Pixels that one value of a trigger stands for."""
        return math.prod(self.shape[1:]) / math.prod(self.grid[1:])

    @property
    def first_cost(self) -> float:
        """The cost that is set first, so that it weighs the same per share of the image at every size."""
        return self.settings.initial_cost * SIDE**2 / math.prod(self.grid[1:])

    def start(self, classes: list[int]) -> Group:
        """Return a fresh group of these classes."""
        return Group.start(torch.tensor(classes, device=self.pool.pixels.device), self.grid, self.settings)

    def advance(self, group: Group, until: int, images: float = math.inf) -> tuple[Group, int]:
        """Return the group at step `until`, and how many images went through the model; a class whose schedule ends stays as it is.

        After so many `images` no further step is begun, but one is always done; then the group's `steps` are fewer.
        """
        apart: list[Group] = []
        query_count, reached = 0, until
        orders = torch.stack([self.pool.order(int(one), self.settings.seed) for one in group.classes])
        orders = orders.to(self.pool.pixels.device)
        while True:
            over = group.schedule.ended(self.settings)
            if bool(over.any()):
                apart.append(group.take(over))
                group, orders = group.take(~over), orders[~over]
            if group.steps >= until or not len(group.classes):
                break
            query_count += len(group.classes) * self.settings.per_step
            group = self.step(group, orders)
            if group.steps < until and query_count >= images:
                reached = group.steps
                break
        return Group.joined([group, *apart])._replace(steps=reached), query_count

    def step(self, group: Group, orders: Tensor) -> Group:
        """Return the group after `updates` batches, its costs and smallest triggers brought up to date."""
        rates = []
        for number in range(self.settings.updates):
            done = group.steps * self.settings.updates + number
            gradient, success = self.gradient(group, self.images(orders, done))
            group = adam(group, gradient, done + 1, self.settings.learning_rate)
            rates.append(success)
        return self.judged(group, torch.stack(rates).mean(0))

    def images(self, orders: Tensor, number: int) -> Tensor:
        """Return batch `number` of each class, [k, n, c, ...], from the order [k, m] in which it sees the images."""
        size = self.settings.batch_size
        places = torch.arange(number * size, (number + 1) * size, device=orders.device) % orders.shape[1]
        return self.pool.pixels[orders[:, places]]

    def gradient(self, group: Group, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of each class's loss with respect to its `raw`, and the success on `images`."""
        raw = group.raw.detach().requires_grad_()
        loss, success = objective(self.module, images, raw, group.classes, group.schedule.cost, self.layout)
        return torch.autograd.grad(loss.sum(), raw)[0], success

    def judged(self, group: Group, success: Tensor) -> Group:
        """Return the group with the smallest trigger that reached success, and the cost of the next step."""
        now = triggers(group.raw).clamp(0, 1)  # rounding leaves a little beyond
        size, won = now[:, 0].flatten(1).sum(1) * self.cell, success >= self.settings.success
        smaller = won & (size < group.size)
        best = torch.where(smaller.view(-1, *[1] * (now.ndim - 1)), now, group.best)
        schedule = group.schedule.step(won, smaller, self.first_cost, self.settings)
        size = torch.where(smaller, size, group.size)
        return group._replace(best=best, size=size, success=success, schedule=schedule, steps=group.steps + 1)

    @torch.inference_mode()
    def held_out(self, trigger: Tensor, one: int) -> tuple[int, int]:
        """Return how many held-out images that are not of class `one` the trigger [1 + c, ...] turns into it, of how many."""
        images = self.pool.held_out[~self.pool.held_out_kinds[:, one]]
        parts = [self.module(stamp(part[None], trigger[None])[0]).argmax(1) for part in images.split(64)]
        return sum(int((part == one).sum()) for part in parts), len(images)


@contextlib.contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Within the block the module is in eval mode. Raises LoadError if its buffers (batch-norm statistics) changed in it."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    before = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
    if not all(torch.equal(old, new) for old, new in zip(before, module.buffers(), strict=True)):
        raise LoadError("the network changes its own statistics during a forward pass, also in eval mode: its outputs cannot be trusted")
