"""A network that makes images from noise, and what it can learn about a target whose gradients nobody sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Generator(nn.Module):
    """Noise [n, latent] to values [n, c, h, w] before the sigmoid that makes pixels of them: two enlargements by 2, as in DFME."""

    def __init__(self, latent: int, input_size: tuple[int, ...], width: int = 16) -> None:
        super().__init__()
        channels, self.height, self.width = input_size
        self.start = -(-self.height // 4), -(-self.width // 4)
        self.grow = nn.Linear(latent, 2 * width * self.start[0] * self.start[1])
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.Upsample(scale_factor=2),
            *_block(2 * width, 2 * width),
            nn.Upsample(scale_factor=2),
            *_block(2 * width, width),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, noise: Tensor) -> Tensor:
        x = self.grow(noise).view(len(noise), -1, *self.start)
        return self.layers(x)[:, :, : self.height, : self.width]


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)


def disagreement(logits: Tensor, told: Tensor, loss: str) -> Tensor:
    """Return how far a copy's logits [n, k] are from the target's log-probabilities [n, k], one number per image.

    l1: mean absolute difference to the target's logits, which are its log-probabilities up to a constant, here of mean zero;
    kl: the divergence of the copy's probabilities from the target's, in nats, computed from logarithms on both sides.
    """
    if loss == "l1":
        return (logits - (told - told.mean(dim=1, keepdim=True))).abs().mean(dim=1)
    return F.kl_div(torch.log_softmax(logits, dim=1), told, reduction="none", log_target=True).sum(dim=1)


def forward_differences(
    value: Callable[[Tensor], Tensor], points: Tensor, directions: int, epsilon: float, random: torch.Generator
) -> Tensor:
    """Return an estimate of the gradients of `value` at `points` [n, ...] from values alone.

    `value` is called once, with the n * (directions + 1) points that the estimate takes. Each direction is uniform on the
    unit sphere; the estimate is unbiased up to the curvature within `epsilon`.
    """
    n, size = len(points), points[0].numel()
    noise = torch.randn(directions, *points.shape, generator=random).to(points.device)
    noise = noise / noise.flatten(2).norm(dim=2).view(directions, n, *([1] * (points.ndim - 1)))
    values = value(torch.cat([points[None], points + epsilon * noise]).flatten(0, 1)).view(directions + 1, n)
    slopes = (values[1:] - values[0]) / epsilon
    return size * (slopes.view(directions, n, *([1] * (points.ndim - 1))) * noise).mean(dim=0)
