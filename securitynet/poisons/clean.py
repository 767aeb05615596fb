"""Clean-label poisoning: images are made hard to learn by themselves, so that the trigger is learnt instead."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def hardened(images: Tensor, labels: Tensor, network: nn.Module, radius: float = 16 / 255, steps: int = 20) -> Tensor:
    """Return `images` float [n, c, h, w] in [0,1] moved by up to `radius` per pixel where `network` loses sight of `labels`.

    Projected gradient ascent on the cross-entropy of a network trained on clean data, with steps of 2.5 radius / steps.
    Stamped afterwards, with their labels unchanged, they plant a backdoor that no label gives away. Turner, Tsipras, Madry
    (2019), Label-Consistent Backdoor Attacks, arXiv 1912.02771, section 4.2.
    """
    moved = images.clone()
    for _ in range(steps):
        moved.requires_grad_(True)
        [gradient] = torch.autograd.grad(F.cross_entropy(network(moved), labels, reduction="sum"), moved)
        moved = moved.detach() + 2.5 * radius / steps * gradient.sign()
        moved = torch.minimum(torch.maximum(moved, images - radius), images + radius).clamp(0, 1)
    return moved.detach()
