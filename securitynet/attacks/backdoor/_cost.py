"""What it costs to look at a model, known before it is done: in passes, which are the same on every machine, and in seconds here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from securitynet.attacks.backdoor._classes import lead, passes
from securitynet.errors import Skipped

if TYPE_CHECKING:
    from securitynet.attacks.protocols import Attack
    from securitynet.target import Target

BATCH = {"cpu": 64, "cuda": 256}
VALUES = 2**19  # input values of a batch at most
WORK = {"cpu": 5e13, "cuda": 2.5e15}  # floating-point operations that a model is worth: about half an hour of a processor core


def seconds_per_image(target: Target, device: torch.device) -> float:
    """Return the time of one image forward and backward, in the fastest of three batches of grey ones.

    Raises Skipped where the outputs have no gradients: then no class can be aimed at.
    """
    shape = tuple(target.entry.input_size or ())
    count = max(1, min(BATCH.get(device.type, BATCH["cuda"]), VALUES // torch.Size(shape).numel()))
    pixels = torch.full((count, *shape), 0.5, device=device, requires_grad=True)
    labels, found = torch.zeros(count, dtype=torch.int64, device=device), []
    for _ in range(3):
        start, logits = time.perf_counter(), target.module(pixels).float()
        if not logits.requires_grad:
            raise Skipped("cannot tell: the model's outputs have no gradients, so nothing can be searched for in its pixels")
        torch.autograd.grad(lead(logits, labels).sum(), pixels)
        if pixels.is_cuda:
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - start)
    return min(found) / count


def operations(target: Target, device: torch.device) -> int:
    """Return how many floating-point operations one image takes forward, by torch's counter; at least one."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        target.module(torch.full((1, *(target.entry.input_size or ())), 0.5, device=device))
    return max(1, counter.get_total_flops())


def usual_budget(target: Target, device: torch.device) -> int:
    """Return how many passes are spent on a model where nobody says how many: the fewer, the more work one is."""
    return max(1, int(WORK.get(device.type, WORK["cuda"]) / operations(target, device)))


def images_per_class(attack: Attack) -> float:
    """Return how many images a detector sends forward and backward for each class; 0 for one that does not say it by `per_class`."""
    return float(getattr(attack, "per_class", 0.0))


def passes_of(images: float) -> int:
    """Return the passes of so many images forward and backward."""
    return int(images * passes(1, 1))
