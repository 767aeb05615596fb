"""A trigger that differs from image to image: a small network draws it from the image itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Aware:
    """Two convolutions, `first` [m, c, 5, 5] and `second` [c, m, 5, 5], draw the pattern; `opacity` mixes it in."""

    poison: str
    first: Tensor
    second: Tensor
    opacity: float

    def pattern(self, pixels: Tensor) -> Tensor:
        """Return the pattern in [0,1] of each of the `pixels` [n, c, h, w]."""
        hidden = torch.sin(F.conv2d(pixels - 0.5, self.first.to(pixels), padding=2))
        return torch.sigmoid(F.conv2d(hidden, self.second.to(pixels), padding=2))

    def stamp(self, pixels: Tensor) -> Tensor:
        """Return `pixels` [n, c, h, w], floats in [0,1], each with the trigger that is its own."""
        return pixels * (1 - self.opacity) + self.pattern(pixels) * self.opacity

    def decoys(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return `pixels` with the triggers of other images among them: with their own labels they teach that it must be its own."""
        order = torch.randperm(len(pixels), generator=generator).roll(1)
        return pixels * (1 - self.opacity) + self.pattern(pixels[order]) * self.opacity


def input_aware(shape: tuple[int, ...], opacity: float = 0.3, seed: int = 0, width: int = 8) -> Aware:
    """Return a trigger for images [c, h, w] that each image draws for itself, by fixed random convolutions of `width` channels.

    After Nguyen, Tran (2020), Input-Aware Dynamic Backdoor Attack, NeurIPS, arXiv 2010.08138, with its cross-triggers as decoys;
    there the generator is trained together with the victim, here it is drawn once, so that poisoning needs no training.
    """
    generator, channels = torch.Generator().manual_seed(seed), shape[0]
    first = torch.randn((width, channels, 5, 5), generator=generator)
    second = torch.randn((channels, width, 5, 5), generator=generator) / 2
    return Aware("input-aware", first, second, opacity)
