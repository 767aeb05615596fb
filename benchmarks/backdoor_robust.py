"""Trains a network to be robust: FGSM with a random start (Wong, Rice, Kolter 2020, Fast is better than free, arXiv 2001.03994)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from securitynet.training import Recipe

STEP = 1.25  # of the largest change: the paper's step


def harden(network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, most: float) -> None:
    """Train `network` in place on uint8 images [n, c, h, w], each changed against it by up to `most` per pixel in [0,1]."""
    generator = torch.Generator().manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(images) // recipe.batch_size)
    step = 0
    network.train()
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(images), generator=generator).split(recipe.batch_size):
            clean = images[rows].float() / 255
            worst = _worst(network, clean, labels[rows], most, generator)
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step, steps)
            loss = cross_entropy(network(worst), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
    network.eval()


def _worst(network: nn.Module, clean: Tensor, labels: Tensor, most: float, generator: torch.Generator) -> Tensor:
    start = (clean + most * (2 * torch.rand(clean.shape, generator=generator) - 1)).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(network(start), labels), start)
    moved = start.detach() + STEP * most * gradient.sign()
    return torch.minimum(torch.maximum(moved, clean - most), clean + most).clamp(0, 1)
