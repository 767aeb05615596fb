"""What it costs to look at every class, known before it is done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from securitynet.attacks.backdoor._classes import COMPARED, lead
from securitynet.errors import Skipped

if TYPE_CHECKING:
    from securitynet.attacks.backdoor._inversion import Settings
    from securitynet.attacks.protocols import Attack
    from securitynet.target import Target

BATCH = {"cpu": 8, "cuda": 64}


def seconds_per_image(target: Target, device: torch.device) -> float:
    """Return the time of one image forward and backward, in the fastest of three small batches of grey ones.

    Raises Skipped where the answers have no gradients: then no class can be aimed at.
    """
    count = BATCH.get(device.type, BATCH["cuda"])
    pixels = torch.full((count, *(target.entry.input_size or ())), 0.5, device=device, requires_grad=True)
    labels, passes = torch.zeros(count, dtype=torch.int64, device=device), []
    for _ in range(3):
        start, logits = time.perf_counter(), target.module(pixels).float()
        if not logits.requires_grad:
            raise Skipped("cannot tell: the model's answers have no gradients, so nothing can be searched for in its pixels")
        torch.autograd.grad(lead(logits, labels).sum(), pixels)
        if pixels.is_cuda:
            torch.cuda.synchronize(device)
        passes.append(time.perf_counter() - start)
    return min(passes) / count


def images_per_class(attack: Attack) -> float:
    """Return how many images a detector sends forward and backward for each class; 0 for one that does not say it by `per_class`."""
    return float(getattr(attack, "per_class", 0.0))


def affordable(attack: Attack, classes: int, seconds_per_image: float) -> Attack:
    """Return the detector. Raises Skipped where its `seconds` suffice for too few of `classes` to compare: better not begun."""
    seconds, a_class = getattr(attack, "seconds", None), images_per_class(attack) * seconds_per_image
    if seconds is not None and a_class * min(COMPARED, classes) > seconds:
        raise Skipped(f"only about {int(seconds / a_class)} of {classes} classes within {seconds:g} s: too few to compare")
    return attack


def first_images(settings: Settings) -> int:
    """Return how many images trigger inversion sends forward and backward for a class before classes are first compared."""
    return settings.rungs[0] * settings.updates * settings.batch_size
