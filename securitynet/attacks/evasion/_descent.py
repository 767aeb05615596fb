"""Projected gradient ascent on the loss, an image at a time dropped when it fools the model (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from securitynet.attacks.evasion._ball import projected, start, steepest
from securitynet.attacks.evasion._victim import Victim
from securitynet.threat import Threat

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy [n]."""
    return F.cross_entropy(logits, labels, reduction="none")


def lead(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the largest other logit minus that of the label [n]: above zero where the model names another class."""
    own = logits.gather(1, labels[:, None])[:, 0]
    return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own


def flat(module: nn.Module, points: Tensor, labels: Tensor) -> Tensor:
    """Return bool [n]: at points [n, ...] the gradient of the lead is zero or no number."""
    with torch.enable_grad():
        pixels = points.clone().requires_grad_()
        loss = lead(module(pixels), labels).sum()
        if not loss.requires_grad:
            return torch.ones_like(labels, dtype=torch.bool)
        (gradient,) = torch.autograd.grad(loss, pixels)
    values = gradient.flatten(1)
    return ~torch.isfinite(values).all(1) | (values == 0).all(1)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": lead}


def ascend(victim: Victim, images: Tensor, labels: Tensor, threat: Threat, steps: int, step: float, loss: Loss, random: bool) -> Tensor:
    """Return images [n, ...] after at most `steps` steps of length `step` in the norm, each projected to the ball; Linf and L2.

    An image is left where the model first named another class; the others are where the last step led.
    """
    result = images.clone()
    alive = torch.arange(len(images), device=images.device)
    moved = start(images, threat.norm, threat.epsilon) if random else images.clone()
    for number in range(steps + 1):
        with torch.enable_grad():
            followed = moved.detach().requires_grad_(number < steps)
            logits = victim.followed(followed)
            wrong = victim.fooled(moved.detach(), labels[alive]) if victim.defended else logits.detach().argmax(1) != labels[alive]
            result[alive] = moved.detach()
            if number == steps or wrong.all():
                break
            (gradient,) = torch.autograd.grad(loss(logits, labels[alive]).sum(), followed)
        going = ~wrong
        alive, moved, gradient = alive[going], moved[going], gradient[going]
        moved = projected(moved + step * steepest(gradient, threat.norm), images[alive], threat.norm, threat.epsilon)
    return result
