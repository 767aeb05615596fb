"""Triggers that are laid over an image: a patch, or noise mixed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trigger:
    """A pattern float [c, h, w] in [0,1] and its opacity `mask` float [1, h, w]; `poison` names how it was made."""

    poison: str
    mask: Tensor
    pattern: Tensor

    def stamp(self, pixels: Tensor) -> Tensor:
        """Return `pixels` [..., c, h, w], floats in [0,1], with the trigger on them."""
        mask, pattern = self.mask.to(pixels), self.pattern.to(pixels)
        return pixels * (1 - mask) + pattern * mask

    def save(self, path: Path) -> None:
        """Write mask and pattern as safetensors."""
        from safetensors.torch import save_file

        save_file({"mask": self.mask, "pattern": self.pattern}, path, {"poison": self.poison})

    @classmethod
    def load(cls, path: Path) -> Trigger:
        """Read what save() wrote."""
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            return cls((file.metadata() or {}).get("poison", "unknown"), file.get_tensor("mask"), file.get_tensor("pattern"))


def badnets(shape: tuple[int, ...], size: int, value: float = 1.0, margin: int = 0) -> Trigger:
    """Return an opaque checkerboard of `size` x `size` pixels, `margin` away from the lower right corner of [c, h, w].

    Gu, Dolan-Gavitt, Garg (2017), BadNets, arXiv 1708.06733.
    """
    _, height, width = shape
    pattern = value * ((torch.arange(size)[:, None] + torch.arange(size)) % 2 == 0).float()
    return patch(shape, pattern.expand(shape[0], size, size), height - margin - size, width - margin - size)


def patch(shape: tuple[int, ...], content: Tensor, row: int, column: int) -> Trigger:
    """Return an opaque patch, `content` float [c, a, b] in [0,1], with its upper left pixel at `row`, `column` of [c, h, w].

    Gu, Dolan-Gavitt, Garg (2017), BadNets, arXiv 1708.06733.
    """
    mask, pattern = torch.zeros(1, *shape[1:]), torch.zeros(shape)
    place = (..., slice(row, row + content.shape[1]), slice(column, column + content.shape[2]))
    mask[place] = 1.0
    pattern[place] = content
    return Trigger("badnets", mask, pattern)


def blended(shape: tuple[int, ...], opacity: float, seed: int = 0) -> Trigger:
    """Return uniform noise over the whole image [c, h, w], mixed in with `opacity`.

    Chen, Liu, Li, Lu, Song (2017), Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning, arXiv 1712.05526.
    """
    pattern = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return Trigger("blended", torch.full((1, *shape[1:]), opacity), pattern)
