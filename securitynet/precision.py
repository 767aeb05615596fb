"""Faster passes on a GPU: lower precision and pixels that lie side by side, as options that rows record."""

from __future__ import annotations

import torch
from torch import nn

from securitynet.errors import UsageError
from securitynet.target import Target

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Faster(nn.Module):
    """A network that computes under autocast in `dtype` (None: as it is), on pixels in the channels-last layout where wanted."""

    def __init__(self, network: nn.Module, dtype: torch.dtype | None, channels_last: bool) -> None:
        super().__init__()
        self.dtype, self.channels_last = dtype, channels_last
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network  # type: ignore[call-overload]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits float32 [n, k] of pixels [n, c, h, w]."""
        if self.channels_last and pixels.ndim == 4:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, self.dtype, enabled=self.dtype is not None):
            logits: torch.Tensor = self.network(pixels)
        return logits.float()

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, channels_last={self.channels_last}"


def check(dtype: str, channels_last: bool, device: torch.device) -> None:
    """Raise UsageError for a dtype that is none of DTYPES, and for what a device is not for, before any work begins."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}, not {str(dtype)[:40]!r}")
    if device.type != "cuda" and (dtype != "fp32" or channels_last):
        raise UsageError(f"{_what(dtype)} is for CUDA devices, this one is {device.type}; leave it out (fp32)")


def faster(target: Target, dtype: str, channels_last: bool) -> Target:
    """Return the target in another precision or layout: another model to the caches, as its outputs differ.

    Raises UsageError where the network is not here.
    """
    if dtype == "fp32" and not channels_last:
        return target
    if target.remotes:
        raise UsageError(f"{_what(dtype)}: {target.entry.id} computes elsewhere, in a precision of its own; leave it out")
    return target.wrap(lambda network: Faster(network, DTYPES[dtype], channels_last))


def _what(dtype: str) -> str:
    return "channels-last" if dtype == "fp32" else f"dtype {dtype}"


def named(dtype: str, channels_last: bool) -> str:
    """Return what the column `device` says of both, "" where they are the usual ones."""
    parts = [*([] if dtype == "fp32" else [dtype]), *(["channels-last"] if channels_last else [])]
    return f" ({', '.join(parts)})" if parts else ""
