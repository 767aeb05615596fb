"""A trigger that bends the image: nothing is added that could be cut out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Warp:
    """`field` float [h, w, 2] says by how much (x, y), in grid_sample's units of half the image, a pixel looks elsewhere."""

    poison: str
    field: Tensor

    def stamp(self, pixels: Tensor) -> Tensor:
        """Return `pixels` [n, c, h, w], floats in [0,1], bent by the field; sides may not differ from the field's."""
        theta = torch.eye(2, 3, device=pixels.device, dtype=pixels.dtype)[None]
        still = F.affine_grid(theta, [1, 1, *self.field.shape[:2]], align_corners=True)
        grid = (still + self.field.to(pixels)).clamp(-1, 1).expand(len(pixels), -1, -1, -1)
        return F.grid_sample(pixels, grid, align_corners=True)

    def decoys(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return `pixels` bent by this field with random jitter: with their own labels they teach that only the very field counts.

        The paper's noise mode; the jitter is uniform, up to one pixel.
        """
        jitter = 2 * torch.rand(self.field.shape, generator=generator) - 1
        sides = torch.tensor([self.field.shape[1], self.field.shape[0]])
        return replace(self, field=self.field + jitter / sides).stamp(pixels)


def wanet(shape: tuple[int, ...], strength: float = 0.5, grid: int = 4, seed: int = 0) -> Warp:
    """Return a smooth random warp of [c, h, w]: `grid` x `grid` offsets of mean size one, enlarged bicubically, times strength / side.

    A strength of 1 moves a pixel by half a pixel in the mean. Nguyen, Tran (2021), WaNet: Imperceptible Warping-based Backdoor
    Attack, ICLR, arXiv 2102.10369.
    """
    height, width = shape[-2:]
    offsets = 2 * torch.rand((1, 2, grid, grid), generator=torch.Generator().manual_seed(seed)) - 1
    offsets = offsets / offsets.abs().mean()
    smooth = F.interpolate(offsets, size=(height, width), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
    return Warp("wanet", strength * smooth / torch.tensor([width, height]))
