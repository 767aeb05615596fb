"""The model under slightly changed images: modules to wrap a target in, so that query() caches their outputs too."""

from __future__ import annotations

import torch
from torch import nn


class Shifted(nn.Module):
    """The module on images moved by whole pixels (edges repeated), mirrored if `flip`."""

    def __init__(self, module: nn.Module, rows: int = 0, columns: int = 0, flip: bool = False) -> None:
        super().__init__()
        self.module, self.rows, self.columns, self.flip = module, rows, columns, flip

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        for dimension, by in ((-2, self.rows), (-1, self.columns)):
            length = pixels.shape[dimension]
            source = (torch.arange(length, device=pixels.device) - by).clamp(0, length - 1)
            pixels = pixels.index_select(dimension, source)
        return self.module(pixels.flip(-1) if self.flip else pixels)

    def extra_repr(self) -> str:
        return f"rows={self.rows}, columns={self.columns}, flip={self.flip}"


class Noisy(nn.Module):
    """The module on images plus one fixed Gaussian pattern of standard deviation `sigma` (pixels in [0,1]), clipped."""

    pattern: torch.Tensor

    def __init__(self, module: nn.Module, shape: tuple[int, ...], sigma: float, seed: int) -> None:
        super().__init__()
        self.module, self.sigma = module, sigma
        self.register_buffer("pattern", torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * sigma)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.module((pixels + self.pattern).clamp(0, 1))
