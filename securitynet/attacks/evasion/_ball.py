"""Perturbations in a ball: their sizes, and how they are kept in it and the image in [0,1]."""

from __future__ import annotations

import torch
from torch import Tensor

SLACK = 1e-5  # rounding of float32, as a share of epsilon


def sizes(change: Tensor, norm: str) -> Tensor:
    """Return the norms [n] of changes [n, ...]."""
    flat = change.flatten(1)
    if norm == "Linf":
        return flat.abs().amax(1)
    return flat.norm(dim=1) if norm == "L2" else flat.abs().sum(1)


def wide(values: Tensor, like: Tensor) -> Tensor:
    """Return values [n] with as many trailing dimensions as `like`."""
    return values.view(-1, *([1] * (like.ndim - 1)))


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """Return the direction of norm one along which a linear function of that gradient grows most; of Linf and L2."""
    if norm == "Linf":
        return gradient.sign()
    return gradient / wide(sizes(gradient, "L2").clamp_min(1e-12), gradient)


def projected(moved: Tensor, images: Tensor, norm: str, epsilon: float | Tensor) -> Tensor:
    """Return `moved` taken back to the ball of Linf or L2 around `images`, then cut to [0,1] (which leaves no ball around an image).

    `epsilon` is one number, or one per image [n].
    """
    change = moved - images
    bound = torch.as_tensor(epsilon, dtype=images.dtype, device=images.device).expand(len(images))
    if norm == "Linf":
        change = torch.maximum(torch.minimum(change, wide(bound, images)), -wide(bound, images))
    else:
        change = change * wide((bound / sizes(change, "L2").clamp_min(1e-12)).clamp_max(1), images)
    return (images + change).clamp(0, 1)


def start(images: Tensor, norm: str, epsilon: float) -> Tensor:
    """Return random points of the ball: uniform in Linf; in L2 a uniform direction and a radius of density r**(d-1)."""
    if norm == "Linf":
        return (images + epsilon * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
    noise = torch.randn_like(images)
    radius = epsilon * torch.rand(len(images), device=images.device) ** (1 / images[0].numel())
    return (images + steepest(noise, "L2") * wide(radius, images)).clamp(0, 1)


def inside(attacked: Tensor, images: Tensor, norm: str, epsilon: float) -> Tensor:
    """Return bool [n]: the attacked image is finite, in [0,1], and in the ball up to rounding."""
    pixels = attacked.flatten(1)
    held = torch.isfinite(pixels).all(1) & (pixels >= 0).all(1) & (pixels <= 1).all(1)
    return held & (sizes(attacked - images, norm) <= epsilon * (1 + SLACK) + 1e-6)
